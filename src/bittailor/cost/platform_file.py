"""Reading platforms: TOML in, `Platform` out, one clear line about what is wrong. docs/hardware.md has the format."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from bittailor.common.files import read_values
from bittailor.common.records import read, shown
from bittailor.common.registry import Table
from bittailor.core.qformat import allowed_widths
from bittailor.cost.hardware import ELEMENTWISE, RULES, Cost, Memory, Platform
from bittailor.errors import BittailorError, FileError

FORMAT = 1
WIDEST = max(allowed_widths("activation"))

_TOP = {"format", "name", "title", "source", "reference", "speedup", "product", "elementwise", "memory", "space",
        *ELEMENTWISE}
_PRODUCT = {"same_width", "weights", "activations", "speedup", "cycles", "energy_pj"}
_SINGLE = {"widths", "speedup", "cycles", "energy_pj"}
_MEMORY = {"load_pj_per_bit", "sram_bytes", "outside_pj_per_bit", "outside_cycles_per_bit"}
_SPACE = {"output_activations"}
_FORMULAS = ("mean", "time")


class PlatformError(FileError):
    """A platform file that cannot be used."""


def load_platform(path: Path | str) -> Platform:
    """Read a platform's TOML file; FileError in one line if it cannot be used."""
    return parse_platform(read_values(path), str(path))


def parse_platform(document: Mapping[str, Any], where: str = "the platform") -> Platform:
    """A platform from the content of its file; PlatformError names `where` and what is wrong."""
    return _Reader(where).platform(document)


def shipped() -> Table[Platform]:
    """The platforms of the package: one TOML file each."""
    files = sorted((f for f in resources.files("bittailor.cost").joinpath("platforms").iterdir()
                    if f.name.endswith(".toml")), key=lambda f: f.name)
    found = [parse_platform(tomllib.loads(f.read_text("utf-8")), f.name) for f in files]
    return Table("platform", {platform.name: platform for platform in found})


class _Reader:
    """Checks as it reads."""

    def __init__(self, where: str) -> None:
        self.where = where

    def fail(self, text: str) -> PlatformError:
        return PlatformError(f"{self.where}: {text}")

    def platform(self, document: Mapping[str, Any]) -> Platform:
        if not isinstance(document, Mapping):
            raise self.fail("a platform is a table of keys")
        self.known(document, _TOP, "")
        for key in ("format", "name", "title", "source", "reference", "product"):
            if key not in document:
                raise self.fail(f"'{key}' is missing")
        if document["format"] != FORMAT:
            raise self.fail(f"format is {document['format']!r}; this bittailor reads {FORMAT}")
        texts = {key: document[key] for key in ("name", "title", "source")}
        for key, text in texts.items():
            if not isinstance(text, str) or not text.strip():
                raise self.fail(f"'{key}' must be a text that is not empty; got {text!r}")
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", texts["name"]):
            raise self.fail(f"name is '{texts['name']}'; use small letters, digits, - and _, a letter first")
        reference = self.widths([document["reference"]], "reference")[0]
        formula = document.get("speedup", "time")
        if formula not in _FORMULAS:
            raise self.fail(f"speedup is {formula!r}; choose {' or '.join(_FORMULAS)}")
        product = self.table(document, "product", _PRODUCT)
        products = self.products(product, reference)
        common = self.elementwise(document, "elementwise", reference) if "elementwise" in document else None
        elementwise = {}
        for kind in ELEMENTWISE:
            own = self.elementwise(document, kind, reference) if kind in document else common
            if own is None:
                raise self.fail(f"there is neither [elementwise] nor [{kind}]: what does it cost?")
            elementwise[kind] = own
        memory = self.table(document, "memory", _MEMORY)
        space = self.table(document, "space", _SPACE)
        allowed = space.get("output_activations")
        return Platform(
            **texts, reference=reference, formula=formula, products=products, elementwise=elementwise,
            memory=Memory(**{key: self.number(value, f"memory.{key}") for key, value in memory.items()}),
            same_width=product.get("same_width", False),
            has_energy="energy_pj" in product or "load_pj_per_bit" in memory,
            output_activations=None if allowed is None else self.offered(allowed, {a for _, a in products}),
            document=dict(document),
        )

    def products(self, table: Mapping[str, Any], reference: int) -> dict[tuple[int, int], Cost]:
        weights, activations = (self.widths(table.get(key), f"product.{key}") for key in ("weights", "activations"))
        same = table.get("same_width", False)
        if not isinstance(same, bool):
            raise self.fail(f"product.same_width is {same!r}; expected true or false")
        pairs = [(w, a) for w in weights for a in activations if w == a or not same]
        if (reference, reference) not in pairs:
            raise self.fail(f"the reference is {reference} bits, but product has no {reference}x{reference}")
        names = {f"{w}x{a}": (w, a) for w, a in pairs}
        key, values = self.speed(table, "product", names, reference)
        unit = 1.0
        if key == "speedup":
            values = {pair: 1.0 / speedup for pair, speedup in values.items()}
            if values[reference, reference] != unit:
                raise self.fail(f"product.speedup of {reference}x{reference}, the reference, must be 1")
        energy = (self.values(table["energy_pj"], "product.energy_pj", names, reference)
                  if "energy_pj" in table else dict.fromkeys(pairs, 0.0))
        return {pair: Cost(values[pair], energy[pair]) for pair in pairs}

    def elementwise(self, document: Mapping[str, Any], kind: str, reference: int) -> dict[int, Cost]:
        table = self.table(document, kind, _SINGLE)
        widths = self.widths(table.get("widths"), f"{kind}.widths")
        names = {str(bits): (bits, bits) for bits in widths}
        key, values = self.speed(table, kind, names, reference)
        energy = (self.values(table["energy_pj"], f"{kind}.energy_pj", names, reference)
                  if "energy_pj" in table else {})
        return {bits: Cost(1.0 / values[bits, bits] if key == "speedup" else values[bits, bits],
                           energy.get((bits, bits), 0.0)) for bits in widths}

    def speed(self, table: Mapping[str, Any], where: str, names: Mapping[str, tuple[int, int]], reference: int
              ) -> tuple[str, dict[tuple[int, int], float]]:
        """Whichever of `speedup` and `cycles` is there, and its values."""
        there = [key for key in ("speedup", "cycles") if key in table]
        if len(there) != 1:
            raise self.fail(f"[{where}] needs either speedup or cycles; it has {' and '.join(there) or 'neither'}")
        values = self.values(table[there[0]], f"{where}.{there[0]}", names, reference)
        for name, pair in names.items():
            if values[pair] <= 0:
                raise self.fail(f"{where}.{there[0]} of {name} is {values[pair]:g}; expected more than 0")
        return there[0], values

    def values(self, given: Any, where: str, names: Mapping[str, tuple[int, int]], reference: int
               ) -> dict[tuple[int, int], float]:
        """A table with a number for each of `names`, a rule, or one number for all of them."""
        if not isinstance(given, Mapping):
            return dict.fromkeys(names.values(), self.number(given, where))
        if "rule" in given:
            self.known(given, {"rule", "most"}, where)
            if given["rule"] not in RULES:
                raise self.fail(f"{where}: {RULES.unknown(given['rule'])}")
            if not where.endswith("speedup"):
                raise self.fail(f"{where} cannot be a rule; rules are speed-ups over the reference")
            most = self.number(given.get("most", float(reference * reference)), f"{where}.most")
            rule = RULES[given["rule"]]
            return {pair: min(most, rule(*pair, reference)) for pair in names.values()}
        for name in given:
            if name not in names:
                raise self.fail(f"{where} has '{name}', which its widths do not make; they make {', '.join(names)}")
        missing = [name for name in names if name not in given]
        if missing:
            raise self.fail(f"{where} says nothing about {', '.join(missing)}")
        return {pair: self.number(given[name], f"{where} of {name}") for name, pair in names.items()}

    def table(self, document: Mapping[str, Any], key: str, allowed: set[str]) -> Mapping[str, Any]:
        found = document.get(key, {})
        if not isinstance(found, Mapping):
            raise self.fail(f"'{key}' is {found!r}; expected a table: [{key}]")
        self.known(found, allowed, key)
        return found

    def known(self, table: Mapping[str, Any], allowed: set[str], where: str) -> None:
        for key in table:
            if key not in allowed:
                place = f"in [{where}]" if where else "at the top"
                raise self.fail(Table(f"key {place}:", dict.fromkeys(sorted(allowed))).unknown(key))

    def widths(self, given: Any, where: str) -> tuple[int, ...]:
        """A list of different widths, ascending."""
        if not isinstance(given, Sequence) or isinstance(given, str) or not given:
            raise self.fail(f"{where} is {given!r}; expected a list of widths such as [4, 8, 16]")
        for bits in given:
            if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= WIDEST:
                raise self.fail(f"{where} holds {bits!r}; a width is 1..{WIDEST} bits")
        if len(set(given)) < len(given):
            raise self.fail(f"{where} names a width twice")
        return tuple(sorted(given))

    def offered(self, given: Any, activations: set[int]) -> tuple[int, ...]:
        found = self.widths(given, "space.output_activations")
        if not set(found) <= activations:
            raise self.fail(f"space.output_activations is {list(found)}; product.activations has only "
                            f"{sorted(activations)}")
        return found

    def number(self, given: Any, where: str) -> float:
        """A number of 0 or more."""
        try:
            found: float = read(float, given, where)
        except BittailorError:
            found = -1.0
        if found < 0:
            raise self.fail(f"{where} is {shown(given)}; expected a number, 0 or more")
        return found
