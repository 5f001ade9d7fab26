"""Network: a graph together with its float parameters; it runs in float64 and is saved without pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bittailor.common.cached import cached_property
from bittailor.common.data import real_numbers
from bittailor.common.files import ArrayForm, check_arrays, formed, load_tensors, reading, save_tensors
from bittailor.common.records import shown
from bittailor.core.arith import Floats
from bittailor.core.checks import check_graph
from bittailor.core.graph import Graph, Node, Site
from bittailor.core.walk import walk
from bittailor.errors import DataError, UnsupportedNetwork

NETWORK_KIND, NETWORK_VERSION = "network", 1


@dataclass(frozen=True)
class NetworkForm:
    """The JSON part of a network's file."""

    graph: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Network:
    """A float network.

    graph       sites and operators
    parameters  weight and bias site -> float64 values of the site's shape
    """

    graph: Graph
    parameters: Mapping[str, Floats]

    def __post_init__(self) -> None:
        for site in self.graph.sites.values():
            if site.role not in ("weight", "bias"):
                continue
            values = self.parameters.get(site.name)
            if values is None:
                raise UnsupportedNetwork(f"parameter {site.name} has no values")
            if values.shape != site.shape:
                raise UnsupportedNetwork(f"parameter {site.name} has shape {values.shape}; expected {site.shape}")
            if not np.isfinite(values).all():
                count = int((~np.isfinite(values)).sum())
                raise UnsupportedNetwork(
                    f"parameter {site.name} holds {count} NaN or infinite value(s); "
                    "the training probably diverged: retrain the network before quantising it"
                )

    def __repr__(self) -> str:
        count = sum(values.size for values in self.parameters.values())
        return (f"Network({self.features} features -> {self.graph.sites[self.output].features}, "
                f"{len(self.graph.sites)} sites, {count:,} parameters)")

    @property
    def features(self) -> int:
        """Input features per step."""
        return self.graph.sites[self.graph.inputs[0]].features

    @property
    def output(self) -> str:
        """The output site."""
        return self.graph.outputs[0]

    @property
    def parts(self) -> dict[str, slice]:
        """Where there are several outputs: name -> its columns of the output. Empty otherwise."""
        return self.graph.parts

    def check_input(
        self, x: ArrayLike, lengths: ArrayLike | None = None, dtype: Any = np.float64
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """x [items, steps, features], of a type or (None) as it is, and lengths [items]; DataError says what does not
        fit."""
        values = real_numbers(x, "the input", dtype)
        site = self.graph.sites[self.graph.inputs[0]]
        if site.role == "index":
            values = check_indices(values, site)
        if values.ndim != 3 or values.shape[2] != self.features:
            raise DataError(f"the network takes [items, steps, {self.features}]; got shape {values.shape}")
        if 0 in values.shape:
            raise DataError(f"the input has shape {values.shape}: it is empty; give at least one item and one step")
        return values, check_lengths(lengths, len(values), values.shape[1], self.graph.least_steps)

    def __call__(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Floats:
        """The network's output, float64; what `Graph.late` says of it are first steps that it lacks."""
        return self.trace(x, lengths, keep=False)[self.output]

    def trace(self, x: ArrayLike, lengths: ArrayLike | None = None, keep: bool = True) -> dict[str, Floats]:
        """Site -> its values in float64, [items, steps, features] or, without steps, [items, features].

        x        [items, steps, features]
        lengths  [items], 1..steps; all steps if not given
        keep     whether those inside recurrences are in it, too
        Raises   DataError for data that does not fit.
        """
        values, sizes = self.check_input(x, lengths)

        def apply(node: Node, inputs: list[Floats], own: NDArray[np.int64]) -> Floats:
            op = node.operator
            params = {role: self.parameters[name] for role, name in zip(op.roles, node.params, strict=False)}
            return op.real(inputs, params, own)

        return walk(self.graph, {self.graph.inputs[0]: values}, sizes, apply, lambda site: 0.0, self.graph.starts,
                    keep)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of graph and parameters, 16 hexadecimal digits."""
        digest = hashlib.sha256(json.dumps(self.graph.to_json(), sort_keys=True).encode())
        for name in sorted(self.parameters):
            digest.update(name.encode() + self.parameters[name].tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path | str) -> None:
        """Write to a safetensors file."""
        save_tensors(path, NETWORK_KIND, NETWORK_VERSION, {"graph": self.graph.to_json()}, self.parameters)

    @classmethod
    def load(cls, path: Path | str) -> Network:
        """Read what `save` wrote; FileError if it is something else, damaged or of another version."""
        meta, tensors = load_tensors(path, NETWORK_KIND, NETWORK_VERSION)
        form = formed(path, NetworkForm, meta)
        with reading(path):
            graph = Graph.from_json(form.graph)
            check_graph(graph)
            wanted = {site.name: ArrayForm(np.float64, site.shape) for site in graph.sites.values()
                      if site.role in ("weight", "bias")}
            check_arrays(tensors, wanted)
            return cls(graph, tensors)


def check_indices(x: Floats, site: Site) -> Floats:
    """Indices [items, steps, 1], also given as [items, steps]; DataError unless all are whole and have a row."""
    most = 0 if site.proven is None else int(site.proven[1])
    if x.size and not ((x == np.floor(x)) & (x >= 0) & (x <= most)).all():
        raise DataError(f"the input {site.name} holds numbers that are no index; indices are 0..{most}")
    return x[..., None] if x.ndim == 2 else x


def check_lengths(lengths: ArrayLike | None, items: int, steps: int, least: int = 1) -> NDArray[np.int64]:
    """The items' lengths as int64 [items], all steps where not given; DataError unless each is least..steps."""
    if steps < least:
        raise DataError(f"the network drops the first {least - 1} steps, so it needs {least} or more; got {steps}")
    if lengths is None:
        return np.full(items, steps, np.int64)
    try:
        sizes = np.asarray(lengths)
    except (TypeError, ValueError):  # lists of different lengths
        raise DataError(f"lengths must be {items} integers; got {shown(lengths)}") from None
    if sizes.shape != (items,) or sizes.dtype.kind not in "iu":
        raise DataError(f"lengths must be {items} integers; got shape {sizes.shape} of {sizes.dtype}")
    if sizes.min() < least or sizes.max() > steps:
        why = f" (the network drops the first {least - 1})" if least > 1 else ""
        raise DataError(f"lengths must lie in {least}..{steps}{why}; got {sizes.min()}..{sizes.max()}")
    return sizes.astype(np.int64)
