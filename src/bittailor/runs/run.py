"""An opened run: its picks, and a solution by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

from bittailor.common import html
from bittailor.common.records import expect, shown
from bittailor.common.units import number
from bittailor.errors import BittailorError
from bittailor.runs.choice import best_of, standing
from bittailor.runs.forms import PICKS, Solution
from bittailor.runs.frames import frame_of, names_of, rows_of
from bittailor.runs.opened import OpenedRun
from bittailor.runs.spec import read_limit
from bittailor.search.front import knee

if TYPE_CHECKING:
    from pandas import DataFrame

    from bittailor.export.torch import IntegerModule

PICKED = (*PICKS, "retrained")
"""Picks by name; the last is made of what was retrained, after a search too, and stands in no result.json."""

_INDEX = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Run(OpenedRun):
    """An opened run directory. Nothing is computed or written by looking at it.

    path    the directory
    config  what run.json holds; made by `Run.open`, by nothing else
    """

    @property
    def picks(self) -> dict[str, Solution]:
        """The smallest solutions, of all evaluated, that are no worse than homogeneous 8 bits: of least flash, or of
        what else the search counted of constants (`SearchSpec.least`).

        certified by a test on items that the search never saw: at most so much worse, with so much confidence, as the
                  search was asked to certify (`SearchSpec.certify`); of the front
        careful   by the error on the items that select, with a loss there at most a fifth above, and an error on
                  training items alone at most 0.1 points (`Metric.as_good`) above that of homogeneous 8 bits
        smallest  by the error on the items that select alone: what papers compare; luck is in it
        retrained  of the solutions that were themselves retrained: as good in error (at most 0.1 points above) and no
                   worse in loss on validation items that no training saw (`Metric.stands`), itself and on average with
                   the retrained ones of about its size (`choice.standing`)
        Absent where there is none.
        """
        found = dict(self._found.picks)
        base, limits, least = self.held, self.limits, self.spec.least
        good = [s for s in standing(self.retrained.values(), self.metric, base, least) if s.values[least] < base[least]
                and not any(c.violation(s.values[c.name]) for c in limits)]
        if good:
            found["retrained"] = min(good, key=lambda s: (s.values[least], s.values["loss"], s.key))
        return found

    @property
    def holds(self) -> str:
        """The name of the pick to ship where nobody says otherwise: `certified` where there is one, else `careful`; the
        baseline `8bit` where there is neither."""
        return next((name for name in ("certified", "careful") if name in self.picks), "8bit")

    def smallest(self, limit: float) -> Solution | None:
        """The smallest solution of the front whose validation error is no worse than `limit`; None if there is none."""
        cost, least = self.metric.cost, self.spec.least
        good = [(s.values[least], cost(self.level(s)), s) for s in self.front if cost(self.level(s)) <= cost(limit)]
        return min(good, key=lambda item: item[:2])[2] if good else None

    def level(self, solution: Solution) -> float:
        """The error of a solution on validation items alone, which says how good it is; where training items selected
        too, `values` says how it compares."""
        return solution.errors.get("held", solution.values["error"])

    @property
    def named(self) -> dict[str, Solution]:
        """What `pick` takes -> solution: the front by index, picks that lie behind it, baselines, retrained ones."""
        front = {str(i): s for i, s in enumerate(self.front)}
        behind = {name: s for name, s in self._found.picks.items() if not names_of(s, front)}
        return {**front, **behind, **{f"{s.narrowest}bit": s for s in self.homogeneous},
                **{f"retrained:{name}": s for name, s in self.retrained.items()}}

    def rows(self, everything: bool = False) -> list[dict[str, Any]]:
        """A row per solution (`named`): picks, values by objective, test error, bits by site.

        everything  also every other evaluation of the search, named by its widths; what failed is left out
        """
        named = list(self.named.items())
        if everything:
            front = {s.key for s in self.front}
            with self.store() as store:
                named += [(r.key, Solution(r.key, self.space.widths(r.genome), values, None, r.outcome.beacon))
                          for r in store.rows() for values in [r.outcome.known]
                          if values is not None and r.key not in front]
        return rows_of(named, self.picks, [site.name for site in self.network.graph.free])

    def frame(self, everything: bool = False) -> DataFrame:
        """`rows` as a pandas data frame, its index what `pick` takes; BittailorError without pandas."""
        return frame_of(self.rows(everything))

    def __repr__(self) -> str:
        try:
            found = f"{len(self.front)} on the front, {self.result['evaluations']:,} evaluations"
        except BittailorError:
            found = "no result yet"
        return f"Run({str(self.path)!r}: {self.title}; {found})"

    def _repr_html_(self) -> str:
        unit, base = self.metric.unit, self.baseline(8)
        found = {"8bit": base, **self.picks}
        head = ["pick", f"selection error {unit}", f"test error {unit}", "bytes", "of 8 bit"]
        return html.table(repr(self), head, [
            [name, number(s.values["error"]), "" if s.test is None else number(s.test),
             f"{s.values['size'] / 8:,.0f}", f"{100 * s.values['size'] / base.values['size']:.0f} %"]
            for name, s in found.items()])

    def pick(self, pick: str | int) -> Solution:
        """A solution by its place in the front (0, 1, …, the best error first) or by words: `holds` (the one to ship:
        see there), `certified`, `careful`, `smallest` or `retrained` (see `picks`), `best` (best error), `knee`, `8bit`
        and the like (a baseline), `error<=X` (the smallest within; `error>=X`, or the metric's name for error), or
        another limit such as `flash<=8KiB` or `size<=4KiB` (the best within:
        a retrained one where one is as good as 8 bit or has about the lowest loss, otherwise the lowest error; see
        `choice.best_of`)."""
        text = str(int(pick)) if isinstance(pick, Integral) and type(pick) is not bool and pick >= 0 else pick
        expect(text, str, "pick", "such as 0, 'smallest' or 'size<=4KiB'")
        assert isinstance(text, str)
        front = self.front
        if not front:
            raise BittailorError(f"the front of {self.path} is empty: {self.result['message'] or 'nothing was found'}")
        if _INDEX.fullmatch(text):
            if int(text) >= len(front):
                raise BittailorError(f"there is no solution {text}; the front has 0..{len(front) - 1}")
            return front[int(text)]
        if text == "best":
            return min(front, key=lambda s: (self.metric.cost(s.values["error"]), s.values[self.spec.least]))
        if text == "knee":
            at = knee(self.costs([s.values for s in front]))
            return front[at or 0]
        if text.endswith("bit") and _INDEX.fullmatch(text[:-3]):
            return self.baseline(int(text[:-3]))
        if text.startswith("retrained:"):
            return self._retrained(text.removeprefix("retrained:"))
        if text == "holds":
            return self.pick(self.holds)
        if text in PICKED:
            if text not in self.picks:
                raise BittailorError(f"no solution is '{text}': {self._lacking(text)}")
            return self.picks[text]
        if text.startswith(("error", self.metric.name)) or "=" in text:
            return self._within(text)
        raise BittailorError(f"cannot pick {shown(text)}; say an index 0..{len(front) - 1}, "
                             f"{', '.join(('holds', *PICKED))}, best, knee, retrained:NAME, 8bit, 'error<=X' or "
                             "another limit such as 'flash<=8KiB'")

    def _lacking(self, name: str) -> str:
        """Why there is no such pick, in words, and what to take in its place."""
        if name == "certified":
            return (f"none is certified; take '{self.holds}'" if self.result.get("certificate") else
                    "none was to be certified; search with --certify, such as --certify 1@95")
        if name == "careful" and self.result["interrupted"]:
            return f"the search was stopped before one was found; go on with it (--resume), or take '{self.holds}'"
        if name != "retrained":
            return f"none is as good as homogeneous 8 bits; take '{self.holds}', or 'error<=X'"
        known = self.retrained
        if not known:
            return (f"none was retrained; retrain one: bittailor retrain {self.path} --pick smallest, or take "
                    f"'{self.holds}'")
        best = min(known, key=lambda key: (self.metric.cost(known[key].values["error"]), known[key].values["size"]))
        base = self.result.get("held", {}).get("error", self.baseline(8).values["error"])
        return (f"of {len(known)} retrained, none is smaller and as good on validation data, in error and in loss, as "
                f"homogeneous 8 bits ({self.metric.noun} {number(base)}), itself and with those of its size. The "
                f"best has {number(known[best].values['error'])}: take 'retrained:{best}', or '{self.holds}'")

    def _within(self, text: str) -> Solution:
        """The smallest solution within a limit of the error, or the best (`choice.best_of`) within a limit of another
        value: of everything evaluated and retrained where the run has that value; of the front and what was retrained
        where it is flash or RAM of the exported firmware and must be worked out."""
        limit = read_limit(text, self.objectives, self.metric)
        if limit.name == "error":
            found = self.smallest(limit.limit)
            if found is None:
                best = min((self.level(s) for s in self.front), key=self.metric.cost)
                raise BittailorError(f"no solution has a validation {self.metric.noun} that "
                                     f"{'high' if self.metric.maximise else 'low'}; the best has {best:.4g}")
            return found
        if not limit.at_most:
            raise BittailorError(f"cannot pick '{text}'; give an upper limit: '{limit.name}<=X'")
        known, own = {s.key: s for s in self.front}, list(self.retrained.values())
        if all(limit.name in s.values for s in known.values()):
            with self.store() as store:
                rows = [known.get(r.key) or Solution(r.key, self.space.widths(r.genome), values, None, r.outcome.beacon)
                        for r in store.rows() for values in [r.outcome.known] if values is not None]
            value = {s.key: s.values[limit.name] for s in (*rows, *own)
                     if not any(c.violation(s.values[c.name]) for c in self.limits)}
        else:
            rows = list(known.values())
            value = {s.key: self._figure(s, limit.name) for s in (*rows, *own)}
        fitting, retrained = ([s for s in part if s.key in value and not limit.violation(value[s.key])]
                              for part in (rows, own))
        best_one = best_of(fitting, retrained, self.metric, self.held, self.spec.least)
        if best_one is None:
            raise BittailorError(f"no solution has a {limit.name} that low; the lowest is {min(value.values()):.6g}")
        return best_one

    def _figure(self, solution: Solution, name: str) -> float:
        """Flash or RAM of the exported firmware, in bytes, which the search did not ask for; a core may be named."""
        from bittailor.compile.image import FIGURES, image_of
        from bittailor.compile.layouts import DEFAULT_CORE

        figure, _, core = name.partition(".")
        if figure not in FIGURES:
            raise BittailorError(f"the solutions of {self.path} have no '{name}'; they have "
                                 f"{', '.join(solution.values)}")
        return float(FIGURES[figure](image_of(self.program(solution), core=core or DEFAULT_CORE)))

    def _retrained(self, name: str) -> Solution:
        """A retrained solution by its name, the beginning of it, or what it was picked as (the smallest of these)."""
        known = self.retrained
        labels = {key: str(self.beacons[key].about["label"]) for key in known}
        found = [key for key in known if name and key.startswith(name)]
        found = found or [key for key in known if labels[key] == name]
        if not found:
            names = ", ".join(f"{key} ({label})" for key, label in labels.items())
            raise BittailorError(f"there is no retrained solution '{name}'; " + (
                f"there are: {names}" if names else "retrain one: bittailor retrain RUN --pick smallest"))
        return known[found[0]]

    def module(self, pick: str | Solution = "smallest", *, batch_first: bool = True) -> IntegerModule:
        """A torch module that runs a solution's integers in place of the float network; see `export.torch`."""
        from bittailor.export.torch import module

        return module(self.program(self.pick(pick) if isinstance(pick, str) else pick), batch_first=batch_first)
