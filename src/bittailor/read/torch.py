"""from_torch from end to end: copy the module, trace it, read the trace, check the result by running both."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bittailor.common.records import whole
from bittailor.core.arith import Floats
from bittailor.core.network import Network
from bittailor.errors import UnsupportedNetwork
from bittailor.read.embedding import INDEX_LAYOUTS
from bittailor.read.finishing import compare, pruned
from bittailor.read.folding import fold
from bittailor.read.joining import Output, joined
from bittailor.read.outputs import outputs_of, refusal
from bittailor.read.reader import Reader
from bittailor.read.recurrent import is_recurrent, layers_of, own_forward
from bittailor.read.symbolic import FEATURES, ITEMS, STEPS, Axes, WrongLayout
from bittailor.read.trace import arguments, trace

_LAYOUTS: tuple[Axes, ...] = (
    (ITEMS, STEPS, FEATURES), (STEPS, ITEMS, FEATURES), (ITEMS, FEATURES, STEPS), (ITEMS, STEPS))
"""What the axes of a module's input may mean, in the order in which they are tried; the last for one feature only."""
_PROBE_LENGTHS = (5, 3, 1)
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}


def read(module: nn.Module, input_features: int | None = None) -> Network:
    """See `bittailor.read.from_torch`."""
    root = _own_copy(module)
    rows = _input_rows(root)
    if input_features is not None:
        features = whole(input_features, "input_features", 1)
        rows = rows if features == rows else None
    else:
        features = rows or _input_features(root)
    names = [name for name, _ in arguments(root)[1:] if "len" in name.lower()]
    required = bool(names) and dict(arguments(root))[names[0]] is inspect.Parameter.empty
    errors = []
    for lengths in [None, *names[:1]]:
        try:
            network = _read(root, features, rows, lengths, names[0] if names else None)
            if absent := [name for name in _required(root) if name not in names]:
                warnings.warn(f"{type(root).__name__} is read as it runs with {', '.join(absent)} given None: layers "
                              "start at zero there; a program carries its states by itself", stacklevel=3)
            return network
        except UnsupportedNetwork as error:
            errors.append(error)
    raise errors[-1 if required else 0] from None


def _own_copy(module: nn.Module) -> nn.Module:
    """A copy on the CPU, in float64, in evaluation mode; the user's module stays as it is."""
    if not isinstance(module, nn.Module):
        raise UnsupportedNetwork(f"expected a torch.nn.Module; got {type(module).__name__}")
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedNetwork("cannot read a ScriptModule; give the module that it was made from")
    for name, values in module.named_parameters():
        if isinstance(values, nn.parameter.UninitializedParameter):
            raise UnsupportedNetwork(f"parameter {name} is not initialised yet: run the module once on data")
        if values.is_meta:
            raise UnsupportedNetwork(f"parameter {name} is on the meta device and has no values")
        if values.is_complex():
            raise UnsupportedNetwork(f"parameter {name} is complex; only real networks can be read")
    try:
        root = copy.deepcopy(module).eval().to("cpu", torch.float64)
    except (RuntimeError, TypeError) as error:
        raise UnsupportedNetwork(
            f"cannot copy the module: {str(error).splitlines()[0].split('. ')[0]}\n"
            "  it probably keeps a tensor of an earlier run as an attribute; delete that first"
        ) from None
    return _SingleLayer(root) if is_recurrent(root) or own_forward(root, nn.Linear) else root


class _SingleLayer(nn.Module):
    """A network that is nothing but one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        known = layers_of(layer)
        self.name = known.cell if known else type(layer).__name__.lower()
        self.add_module(self.name, layer)

    def forward(self, x: torch.Tensor) -> Any:
        return self.get_submodule(self.name)(x)


def _input_rows(root: nn.Module) -> int | None:
    """How many rows the first embedding has, if there is one: its input is indices."""
    return next((module.num_embeddings for module in root.modules() if isinstance(module, nn.Embedding)), None)


def _input_features(root: nn.Module) -> int:
    """What the first layer takes; a layer that does not match says so when it is read."""
    for module in root.modules():
        for name in ("input_size", "in_features", "in_channels", "num_features"):
            if isinstance(features := getattr(module, name, None), int):
                return features
    raise UnsupportedNetwork("no layer of the module says how wide its input is; "
                             "give it: from_torch(module, input_features=…)")


def _read(
    root: nn.Module, features: int, rows: int | None, lengths: str | None, probe_lengths: str | None
) -> Network:
    refusals = list[UnsupportedNetwork]()
    layouts = _LAYOUTS[:4 if features == 1 else 3] if rows is None else INDEX_LAYOUTS
    for layout in layouts:
        reader = Reader(root, features, layout, lengths, rows is not None)
        try:
            graph = trace(root, reader)
            outs = outputs_of(root, reader, graph)
            break
        except UnsupportedNetwork as error:
            refusals.append(error)
            if features > 1 and not isinstance(error, WrongLayout):
                raise
    else:
        # what stops it in another layout than its own says little; what is no matter of layouts is the reason
        raise next((error for error in refusals if not isinstance(error, WrongLayout)), refusals[0]) from None
    site = joined(reader, outs)
    network = Network(*fold(*pruned(reader.builder.graph(site), reader.parameters)))
    _check(root, network, layout, rows, outs, probe_lengths, required=lengths is not None)
    return network


def _check(
    root: nn.Module, network: Network, layout: Axes, rows: int | None, outs: Sequence[Output], lengths: str | None,
    required: bool,
) -> None:
    """Refuse a network that does not compute what the module computes, on random sequences."""
    ragged = np.array(_PROBE_LENGTHS) + network.graph.least_steps - 1
    rng, shape = np.random.default_rng(0), (len(ragged), max(ragged))
    x = rng.normal(size=(*shape, network.features)) if rows is None else rng.integers(0, rows, shape).astype(float)
    full = np.full(len(x), x.shape[1])
    for sizes, needed in ((full, True), (ragged, required)):
        if lengths is None and sizes is ragged:
            break
        given = {lengths: torch.tensor(sizes)} if lengths and (required or sizes is ragged) else {}
        try:
            expected, tolerance = _run(root, _laid_out(x, layout), given, outs, rows is not None)
        except Exception as error:  # whatever the module's own code may raise
            if not needed:
                continue
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            reason = f"it fails itself on an input of {network.features} features: {reason}"
            if missing := [name for name in _required(root) if name != lengths]:
                reason += (f"\n  forward was given None as {', '.join(missing)}: have it make what it needs where it "
                           "is given None")
            raise refusal(root, reason) from None
        _compare(root, network, x, sizes, outs, expected, tolerance)


def _required(root: nn.Module) -> list[str]:
    """Arguments of forward beside its input that have no default."""
    return [name for name, default in arguments(root)[1:] if default is inspect.Parameter.empty]


def _laid_out(x: Floats, layout: Axes) -> Floats:
    """[items, steps, features], or [items, steps] of indices, as the module takes it."""
    own = (ITEMS, STEPS, FEATURES)[:x.ndim]
    return x.transpose([own.index(axis) for axis in layout]) if len(layout) == x.ndim else x[:, :, 0]


def _run(
    root: nn.Module, x: Floats, given: dict[str, torch.Tensor], outs: Sequence[Output], indices: bool
) -> tuple[list[Floats], float]:
    """The module's outputs, in float64 if its code allows that, and how exact it is."""
    given = {**{name: cast(torch.Tensor, None) for name in _required(root)}, **given}
    precision = torch.float64
    with torch.no_grad():
        try:
            result = root(_tensor(x, indices, precision), **given)
        except Exception:  # its own code may make float32 tensors; if that was not it, it fails again
            precision = torch.float32
            result = copy.deepcopy(root).float()(_tensor(x, indices, precision), **given)
    parts = [result if out.key is None else result[out.key] for out in outs]
    return [part.double().numpy() for part in parts], _TOLERANCE[precision]


def _tensor(x: Floats, indices: bool, precision: torch.dtype) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.int64 if indices else precision)


def _compare(
    root: nn.Module, network: Network, x: Floats, lengths: NDArray[np.int64], outs: Sequence[Output],
    expected: Sequence[Floats], tolerance: float,
) -> None:
    start = 0
    for out, wanted in zip(outs, expected, strict=True):
        columns = slice(start, start + out.tensor.features)
        start = columns.stop
        what = compare(network, x, lengths, out.tensor, wanted, tolerance, columns)
        if what and (lengths == x.shape[1]).all():
            raise refusal(root, f"what was read {what} on random data; its forward does something that the "
                                "trace does not show (a hook, or a change in place)")
        if what:
            raise refusal(
                root, f"with sequences of different lengths what was read {what}: a network sees valid steps only\n"
                "  padding must not reach a reversed layer (pack the sequences), last step or mean (use the lengths);\n"
                "  for sequences of equal lengths, wrap the module in one whose forward takes no lengths"
            )
