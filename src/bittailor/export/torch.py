"""A program as a torch module: it stands where the float network stood, and computes the program's integers.

The program's bytes are a buffer of the module, so `state_dict`, `torch.save` and `.to` take it along; what computes is
a custom operator, so `torch.compile` and `torch.export` see one opaque call. Whoever loads an exported program needs
`import bittailor.export.torch` first, which registers the operators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from bittailor.common.lru import LruCache
from bittailor.core.arith import Ints
from bittailor.core.program import Program
from bittailor.engines import ENGINES, best_engine
from bittailor.engines.streaming import carried, start, stream
from bittailor.errors import BittailorError, DataError
from bittailor.export.base import fingerprint

NO_GRADIENT = ("an integer program has no gradient: call it under torch.no_grad(), or retrain the float network at its "
               "widths (bittailor retrain, or BeaconSettings)")

State = tuple[Tensor, ...]
"""What is carried from piece to piece, int64 [items, features] each."""

_PROGRAMS: LruCache[bytes, Program] = LruCache(64)


class IntegerModule(nn.Module):
    """Runs a program: floats in and out, or integers in and out.

        y = module(x)                               # x as the float network took it
        y = module(x, lengths)                      # [items], the valid steps of each
        y, state = module(x, state=module.start(8)) # a piece of 8 sequences; the next piece takes this state

    x        [items, steps, features] ([steps, items, features] unless batch_first; [steps, features] for one item), or
             a PackedSequence. Floats are quantised, integers are taken as the program's own
    lengths  int [items], 1..steps; all steps where not given
    state    from `start` or from the piece before; not for networks with reversed layers
    Returns  [items, outputs], or an output per step in the layout of x; of the type of x, int64 for integers. With a
             state: a pair of the outputs and the next state. Steps beyond a length hold 0.0. Where the network gives no
             output for the first `late` steps, whole sequences have so many fewer; in a stream they hold 0.0.

    There is no gradient; asking for one is a BittailorError. The module has no parameters and is always in evaluation.
    """

    program_bytes: Tensor

    def __init__(self, program: Program, batch_first: bool = True) -> None:
        super().__init__()
        data = np.frombuffer(program.to_bytes(), np.uint8)
        self.register_buffer("program_bytes", torch.from_numpy(data.copy()))
        site = program.graph.sites[program.graph.outputs[0]]
        self.batch_first = batch_first
        self.inputs = program.graph.sites[program.graph.inputs[0]].features
        self.outputs, self.per_step = site.features, site.sequence
        self.late = program.graph.late[site.name]
        self.fingerprint = fingerprint(program)

    @property
    def program(self) -> Program:
        """The program that it runs."""
        return _program(self.program_bytes)

    @property
    def parts(self) -> dict[str, slice]:
        """Where there are several outputs: name -> its columns of what is returned. Empty otherwise."""
        return self.program.parts

    def start(self, items: int) -> State:
        """The state before the first step. UnsupportedNetwork where a layer runs backwards."""
        device = self.program_bytes.device
        return tuple(torch.from_numpy(value).to(device) for value in start(self.program, items))

    def forward(
        self, x: Tensor | PackedSequence, lengths: Tensor | None = None, state: Sequence[Tensor] | None = None
    ) -> Any:
        """The network's outputs, as floats where x is floats and as the program's integers where x is integers.

        x        [items, steps, features] (or as `batch_first` says), [steps, features], or a PackedSequence
        lengths  [items], 1..steps; all steps if not given
        state    as `start` or the last call gave it: x goes on where that ended
        Returns  [items, outputs] or [items, steps, outputs]; with `state` also the state after x
        Raises   DataError for x or lengths that do not fit; an error by torch where a gradient is asked for.
        """
        if isinstance(x, PackedSequence):
            return self._packed(x, state)
        alone = x.dim() == 2
        q = x[None] if alone else x if self.batch_first else x.transpose(0, 1)
        if state is None:
            y = torch.ops.bittailor.run(q, lengths, self.program_bytes, self.outputs, self.per_step, self.late)
            return self._laid_out(y, alone)
        y, *after = torch.ops.bittailor.stream(q, lengths, list(state), self.program_bytes, self.outputs,
                                               self.per_step)
        return self._laid_out(y, alone), tuple(after)

    def _laid_out(self, y: Tensor, alone: bool) -> Tensor:
        """Back to the layout that x had."""
        if alone:
            return y[0]
        return y.transpose(0, 1) if self.per_step and not self.batch_first else y

    def _packed(self, x: PackedSequence, state: Sequence[Tensor] | None) -> Any:
        padded, lengths = pad_packed_sequence(x, batch_first=self.batch_first)
        found = self(padded, lengths, state)
        y, after = found if state is not None else (found, None)
        if self.per_step:
            lengths = lengths if state is not None else lengths - self.late
            y = pack_padded_sequence(y, lengths, batch_first=self.batch_first, enforce_sorted=False)
        return y if state is None else (y, after)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any, **more: Any) -> None:
        """Another program of the same shape is taken, too: its bytes may be more or fewer."""
        given = state_dict.get(f"{prefix}program_bytes")
        if isinstance(given, Tensor):
            new = IntegerModule(_program(given))
            if (new.inputs, new.outputs, new.per_step, new.late) != (
                    self.inputs, self.outputs, self.per_step, self.late):
                raise BittailorError(f"the state holds a program of {new.inputs} inputs and {new.outputs} outputs; "
                                     f"this module has {self.inputs} and {self.outputs}")
            self.program_bytes = given.detach().clone().to(self.program_bytes.device)
            self.fingerprint = new.fingerprint
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)

    def extra_repr(self) -> str:
        per = "each step" if self.per_step else "each item"
        return (f"{self.inputs} features, {self.outputs} outputs for {per}, batch_first={self.batch_first}, "
                f"program {self.fingerprint} of {self.program_bytes.numel()} bytes")


def module(program: Program, *, batch_first: bool = True) -> IntegerModule:
    """A torch module that computes a program's integers in place of the float network; it has no gradient.

    program      as `bind` or `Run.program` makes it
    batch_first  whether it takes [items, steps, features], or [steps, items, features] as False
    Returns      a module: see `IntegerModule`, and docs/torch_module.md for streaming and exporting
    """
    return IntegerModule(program, batch_first)


def _program(data: Tensor) -> Program:
    """The program of these bytes, kept ready. FileError for damaged ones."""
    raw = data.detach().cpu().numpy().tobytes()
    key = hashlib.blake2b(raw, digest_size=16).digest()
    known = _PROGRAMS.get(key)
    return known if known is not None else _PROGRAMS.put(key, Program.from_bytes(raw, "the module's program"))


@lru_cache(1)
def _engine() -> str:
    return best_engine()


def _integers(program: Program, x: Tensor) -> Ints:
    values = x.detach().cpu()
    if values.dtype.is_floating_point:
        return program.quantise_input(values.double().numpy())
    if values.dtype.is_complex or values.dtype == torch.bool:
        raise DataError(f"a program takes real numbers or integers; got {values.dtype}")
    return values.long().numpy()


def _outputs(program: Program, y: Ints, like: Tensor) -> Tensor:
    """Of the type and on the device of the input."""
    if not like.dtype.is_floating_point:
        return torch.from_numpy(np.ascontiguousarray(y, np.int64)).to(like.device)
    return torch.from_numpy(program.read_output(y)).to(like.device, like.dtype)


def _lengths(lengths: Tensor | None) -> np.ndarray[Any, Any] | None:
    return None if lengths is None else lengths.detach().cpu().numpy()


@torch.library.custom_op("bittailor::run", mutates_args=())
def _run(
    x: Tensor, lengths: Tensor | None, program: Tensor, outputs: int, per_step: bool, late: int = 0
) -> Tensor:
    found = _program(program)
    return _outputs(found, ENGINES[_engine()].run(found, _integers(found, x), _lengths(lengths)), x)


@torch.library.custom_op("bittailor::stream", mutates_args=())
def _stream(
    x: Tensor, lengths: Tensor | None, state: Sequence[Tensor], program: Tensor, outputs: int, per_step: bool
) -> list[Tensor]:
    found = _program(program)
    y, after = stream(found, _integers(found, x), [s.detach().cpu().numpy() for s in state], _lengths(lengths))
    # an operator's results may not be its arguments
    return [_outputs(found, y, x), *(torch.from_numpy(value.copy()).to(x.device) for value in after)]


def _like_output(x: Tensor, outputs: int, per_step: bool, late: int = 0) -> Tensor:
    shape = (x.shape[0], x.shape[1] - late, outputs) if per_step else (x.shape[0], outputs)
    return x.new_empty(shape, dtype=x.dtype if x.dtype.is_floating_point else torch.int64)


@_run.register_fake
def _(
    x: Tensor, lengths: Tensor | None, program: Tensor, outputs: int, per_step: bool, late: int = 0
) -> Tensor:
    return _like_output(x, outputs, per_step, late)


@_stream.register_fake
def _(
    x: Tensor, lengths: Tensor | None, state: Sequence[Tensor], program: Tensor, outputs: int, per_step: bool
) -> list[Tensor]:
    return [_like_output(x, outputs, per_step), *(torch.empty_like(value) for value in state)]


def _no_gradient(*_: Any) -> Any:
    raise BittailorError(NO_GRADIENT)


_run.register_autograd(_no_gradient)
_stream.register_autograd(_no_gradient)

__all__ = ["IntegerModule", "State", "carried", "module"]
