"""Convolutions over the steps: padding before, inside or behind them becomes a window that reaches back and ahead.

A convolution of taps that span S steps needs S frames more than it gives. They come from padding, by the layer or in
front of it, and what is too many is cut off behind. How many of the S stand behind the last step is how far the window
looks ahead: none in a causal convolution. Without padding the first steps have no output: what would be theirs is
dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bittailor.core.arith import Floats
from bittailor.read.symbolic import (
    FEATURES,
    ITEMS,
    STEPS,
    Axes,
    Convolution,
    Dim,
    Framed,
    Refusal,
    SiteRef,
    Tensor,
    WrongLayout,
)
from bittailor.read.writer import Writer

ORDER: Axes = (ITEMS, FEATURES, STEPS)


def padded(w: Writer, source: Any, pad: Sequence[int]) -> Framed | Tensor:
    """Zeros before the first and behind the last step; `pad` is that of functional.pad: pairs, the last axis first."""
    x = framed(w, source)
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if len(pad) % 2 or len(pairs) > len(x.axes) or any(type(n) is not int for n in pad):
        raise Refusal(f"a padding of {tuple(pad)} on {x.text()}")
    for axis, (before, after) in zip(reversed(x.axes), pairs, strict=False):
        if axis != STEPS and (before or after):
            raise Refusal(f"it pads the axis {' * '.join(axis)} of {x.text()}; only steps can be padded")
        if axis == STEPS:
            x = replace(x, before=x.before + before, after=x.after + after)
    return settled(w, x)


def convolved(
    w: Writer, source: Any, weight: Floats, bias: Floats | None, path: str, padding: tuple[int, int],
    dilation: int = 1, groups: int = 1,
) -> Framed | Tensor:
    """A convolution over the steps, of stride 1.

    weight   [out, in / groups, taps]
    padding  frames of zeros before and behind
    """
    x = framed(w, source)
    if x.conv is not None:
        w.single(x)
    if x.axes != ORDER:
        text = f"it is given {x.text()}; a convolution takes [items, features, steps]: transpose(1, 2) before it"
        raise WrongLayout(text) if set(x.axes) == set(ORDER) else Refusal(text)
    w.check_features(Tensor(x.axes, x.features, x.sites), weight.shape[1] * groups,
                     f"in_channels={weight.shape[1] * groups}")
    conv = Convolution(weight, bias, path, dilation, groups)
    return settled(w, replace(x, before=x.before + padding[0], after=x.after + padding[1] - conv.span, conv=conv))


def same_padding(taps: int, dilation: int) -> tuple[int, int]:
    """What padding="same" means: half of the span before, the larger half behind."""
    span = (taps - 1) * dilation
    return span // 2, span - span // 2


def framed(w: Writer, source: Any) -> Framed:
    """Anything of one site, with the steps it has too many."""
    if isinstance(source, Framed):
        return source
    x = w.single(source)
    return Framed(x.axes, x.features, x.sites, fixed=x.fixed, late=x.late)


def cut(w: Writer, x: Framed, place: int, at: Any) -> Framed | Tensor:
    """x[..., start:stop, ...] on the steps: frames that are too many are left away."""
    if x.axes[place] != STEPS or not isinstance(at, slice) or at.step not in (None, 1):
        raise Refusal(f"[{at}] of {x.text()} with {x.before + x.after} steps too many")
    start, stop, more = at.start or 0, at.stop, x.before + x.after - x.late
    if stop is None:
        last = 0
    elif isinstance(stop, Dim) and stop.atoms == STEPS:
        last = more - stop.offset
    elif isinstance(stop, int) and stop < 0:
        last = -stop
    else:
        last = -1
    if not isinstance(start, int) or start < 0 or last < 0:
        raise Refusal(f"[{at.start}:{at.stop}] of {x.text()} with {more} steps too many")
    return settled(w, replace(x, before=x.before - start, after=x.after - last))


def settled(w: Writer, x: Framed) -> Framed | Tensor:
    """The convolution, as soon as it gives as many steps as the sequence has, or fewer."""
    more = x.before + x.after
    if x.conv is None:
        return Tensor(x.axes, x.features, x.sites, fixed=x.fixed, late=x.late) if x.before == x.after == 0 else x
    if more > 0:
        return x
    conv = x.conv
    ahead = x.after + conv.span
    if not 0 <= ahead <= conv.span:
        raise Refusal(f"it begins {x.before} steps late: padding and what is cut off must leave it at its own steps")
    written = _written(w, x, conv, ahead, -more)
    return Tensor(x.axes, len(conv.weight), ((written,),), fixed=x.fixed, late=x.late - more)


def dropped(w: Writer, x: Tensor, steps: int) -> Tensor:
    """x[:, steps:], a sequence without its first steps."""
    site = w.builder.op("crop", w.name(w.local_name("crop")), w.site(x), steps=steps)
    return replace(x, sites=((SiteRef(site),),), late=x.late + steps)


def _written(w: Writer, x: Framed, conv: Convolution, ahead: int, drops: int) -> SiteRef:
    p, site = w.name(w.layer_name(conv.path, "conv")), w.site(Tensor(x.axes, x.features, x.sites))
    rows, _, taps = conv.weight.shape
    if taps > 1:
        site = w.builder.op("window", f"{p}.window", site, taps=taps, dilation=conv.dilation, ahead=ahead)
    if drops:
        site = w.builder.op("crop", f"{p}.crop", site, steps=drops)
    w.parameters |= {f"{p}.W": conv.weight.reshape(rows, -1)} | ({} if conv.bias is None else {f"{p}.b": conv.bias})
    bias = None if conv.bias is None else f"{p}.b"
    if conv.groups > 1:
        return SiteRef(w.builder.grouped_linear(f"{p}.out", site, f"{p}.W", rows, conv.groups, bias))
    return SiteRef(w.builder.linear(f"{p}.out", site, f"{p}.W", rows, bias))


__all__ = ["convolved", "cut", "framed", "padded", "same_padding", "settled"]
