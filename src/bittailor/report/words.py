"""What a report says in sentences: what came out, what to know before quoting it, and what its words mean."""

from __future__ import annotations

from collections.abc import Mapping

from bittailor.report.facts import PARTS, Facts, number
from bittailor.runs import Solution
from bittailor.runs.certificate import said as certificate_sentence

GLOSSARY: Mapping[str, str] = {
    "site": "a named place that holds a quantised tensor: a weight matrix, a bias, an operator's output, a state",
    "width": "the bits of an integer at a site; every site has its own",
    "homogeneous": "one width for every weight and activation, biases at 16 bits: the baseline",
    "mixed precision": "a width of its own for every gene, found by the search",
    "front": "the solutions of which none is better than another in every objective",
    "smallest, careful": "the smallest solutions no worse than homogeneous 8 bit where the search looked: by selection "
                         "error alone, and by selection error and loss and by the error on training items alone, which "
                         "leaves less to luck",
    "certified": "the smallest solution of the front that a test in a fixed sequence found to be at most so much worse "
                 "than homogeneous 8 bit, with so much confidence, on items that no search saw",
    "paired": "two solutions answer the same items, and only where they differ tells them apart; so the difference is "
              "known better than either error",
    "beacon": "a retrained network from whose weights its neighbours in the space of widths are quantised without "
              "training; the better of that and the float network's result counts",
    "retrained": "the smallest of the solutions that were retrained themselves and are as good as homogeneous 8 bit "
                 "(at most 0.1 points above) and no worse in loss on validation data that no training saw",
    "sensitivity": "by how much the selection loss rises when one site alone gets another width",
    "error": "the metric of the task as it is commonly given, so of an accuracy or a ratio in dB more is better",
    "loss": "cross-entropy, squared error or the like: smoother than the error, it tells how sure a network is",
    "selection": "items that the search looked at: validation items and, where nothing is retrained, training items; "
                 "confirm and test items were kept away from it and used once, after it",
    "size": "weights and biases times their widths",
    "stored bytes": "every constant of the program as shipped: packed weights, offsets (biases and zero-point "
                    "corrections), multipliers, lookup tables, what states start at",
    "scale, zero-point": "a stored integer q stands for the real number scale × (q − zero-point)",
    "accumulator": "a bias has no scale of its own: it follows the sum that it is added to",
    "hypervolume": "how much of objective space a front dominates, here against what the homogeneous solutions "
                   "dominate; larger is better",
    "boxen plot": "letter-value plot: the median, then the middle half, then half of the rest on each side, and so on",
    "t-SNE": "a map of many dimensions on two that keeps neighbours together; distances far apart mean little",
}

FAR = 1.2
"""An error so many times another is said as that."""
_CHOSEN_BY = {
    "certified": "tested on items that no search saw",
    "careful": "no worse than homogeneous 8 bit in {noun} and loss where the search looked, nor on training items",
    "smallest": "no worse than homogeneous 8 bit in {noun} where the search looked; luck is in it",
    "retrained": "itself retrained, and no worse in {noun} and loss on validation data",
}
"""A pick -> what it was chosen by."""


def signed(value: float) -> str:
    """A difference with its sign, two digits."""
    return f"{'+' if value > 0 else '−' if value < 0 else '±'}{number(abs(value), 2)}"


def headline(facts: Facts) -> list[str]:
    """What came out, in sentences; the first one is the answer."""
    error, base = facts.error, facts.base
    if not facts.front:
        why = facts.result["message"]
        return [f"The front is empty: {why or 'nothing was found'}."]
    if "smallest" not in facts.picks:
        best = min(facts.front, key=error.cost)
        return [f"No solution is as good as homogeneous 8 bit where the search looked "
                f"({error.text(base.values['error'])}); the {'highest' if error.maximise else 'lowest'} "
                f"{facts.metric.noun} found is {error.text(best.values['error'])}."]
    least = facts.least
    if facts.picks["smallest"].values[least.name] >= base.values[least.name]:
        return ["Nothing found is both smaller than homogeneous 8 bit and no worse where the search looked "
                f"({least.text(base.values[least.name])}, {error.text(base.values['error'])})."]
    order = ("certified", "careful", "smallest", "retrained")
    (first, found), *others = sorted(facts.marks, key=lambda mark: min(order.index(n) for n in mark[0].split(" and ")))
    said = [_of_pick(facts, first, found)]
    if facts.result.get("certificate"):
        said.append(certificate_sentence(facts.result["certificate"], facts.error.unit))
    said.append(_more_of_pick(facts, first, found))
    said += [f"{_of_pick(facts, names, other)} {_more_of_pick(facts, names, other)}" for names, other in others]
    if "careful" not in facts.picks and not facts.result["interrupted"]:
        said.append("None is as good by selection loss and on training items as well: there is no careful choice.")
    return said


def leading(facts: Facts) -> Solution | None:
    """The pick that the headline is about; None where nothing was found."""
    return next((facts.picks[n] for n in ("certified", "careful", "smallest") if n in facts.picks), None)


def worse_on_test(facts: Facts, found: Solution) -> str:
    """In a sentence, whether a solution is worse than homogeneous 8 bit on test data; empty where it is not."""
    base, compared = facts.base.test, found.against("8bit", "test")
    if found.test is None or base is None:
        return ""
    if compared is not None and compared.low > 0:
        return "It is worse than 8 bit on test data, with 95 % confidence."
    if facts.metric.cost(found.test) > facts.metric.cost(facts.metric.as_good(base)):
        more = "" if compared is None else f"; on {compared.items:,} items that may be chance"
        return f"It came out worse than 8 bit on test data{more}."
    return ""


def _of_pick(facts: Facts, names: str, found: Solution) -> str:
    """A pick in a sentence or two: how small, and how good on data that it was not chosen by."""
    error, base, least, noun = facts.error, facts.base, facts.least, facts.metric.noun
    now, before = found.values[least.name], base.values[least.name]
    called = "a solution beside the front" if found in facts.extras else facts.name_of(found)
    what = "smallest" if names == "smallest" else f"{names.replace(' and ', ', ', names.count(' and ') - 1)} choice"
    said = (f"The {what}, {called}, is {100 * (1 - now / before):.0f} % smaller than "
            f"homogeneous 8 bit ({least.text(now)} of {least.name} against {least.text(before)})")
    if found.test is None or base.test is None:
        return f"{said}; not tested."
    times = found.test / base.test if base.test > 0 and not error.maximise else 1.0
    more = f"{number(times, 2)} times that of 8 bit ({error.text(base.test)})" if times >= FAR else (
        f"that of 8 bit {error.text(base.test)}")
    verdict = worse_on_test(facts, found)
    return f"{said}; its {noun} on test data is {error.text(found.test)}, {more}. {verdict}".rstrip()


def _more_of_pick(facts: Facts, names: str, found: Solution) -> str:
    """How a pick compares item by item, and what it was chosen by."""
    error, base, parts = facts.error, facts.base, []
    for part in ("test", "confirm"):
        compared = found.against("8bit", part)
        if compared is not None:
            parts.append(f"On {PARTS[part]} it differs from 8 bit by {compared.text(error.unit)}.")
    where, before = ("validation", facts.result.get("held", base.values)) if names == "retrained" else (
        "selection", base.values)
    by = "; ".join(_CHOSEN_BY[name].format(noun=facts.metric.noun) for name in names.split(" and "))
    parts.append(f"Chosen as: {by} ({where} {error.text(found.values['error'])} against "
                 f"{error.text(before['error'])}).")
    return " ".join(parts)


def small_print(facts: Facts) -> list[str]:
    """What a reader should know before quoting a figure."""
    said = []
    parts = [f"one of the {facts.items[p]} {name} items is worth {number(facts.resolution(p), 2)} %"
             for p, name in (("select", "selection"), ("confirm", "confirm"), ("test", "test"))
             if facts.resolution(p) is not None]
    if parts:
        said.append(f"Resolution: {'; '.join(parts)}.")
    if facts.items.get("confirm") is not None:
        said.append(f"Of the items, {facts.items['select']:,} were looked at by the search "
                    f"({facts.items['select_from_training']:,} of them training items) and {facts.items['confirm']:,} "
                    "validation items were kept from it to confirm what it chose. Differences are paired, item by "
                    "item; positive is worse; intervals are for one solution at a time.")
    if not facts.tested:
        said.append("The search was stopped, so test data have not been used; the same command with --resume goes on "
                    "and fills the test columns.")
    elif facts.front:
        said.append(f"The search compared {facts.result['evaluations']} solutions, so the selection figures of "
                    "its front are optimistic; test data were used once, for the finished front.")
    said.append("Size is weights and biases times their widths, as published work compares it; stored bytes are "
                "all constants of the program as shipped, with lookup tables and corrections.")
    return said
