"""What the cells' modules compute over whole sequences, with gradients of their own.

The element-wise recurrence of SRU and minGRU takes one vector operation a step each way:

    f_t = sigmoid(a_t + v * c_(t-1))
    c_t = f_t * c_(t-1) + (1 - f_t) * u_t,    c_(-1) = 0

Backwards, dL/dc_(t-1) = dL/dc_t * k_t + (the output's own) with k_t = f_t + (c_(t-1) - u_t) f_t (1 - f_t) v. They are
known all at once, so only a multiply-add is left inside the loop; everything else is a product over all steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Blend(torch.autograd.Function):
    """c [steps, …] of u, a [steps, …] and v (of the shape of one step, or broadcast to it)."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, a: Tensor, v: Tensor | None) -> Tensor:
        c = u.new_empty((len(u) + 1, *u.shape[1:]))
        c[0] = 0
        if v is None:
            f = torch.sigmoid(a)
            for u_t, f_t, old, new in zip(u.unbind(), f.unbind(), c[:-1].unbind(), c[1:].unbind(), strict=True):
                torch.lerp(u_t, old, f_t, out=new)
        else:
            f = torch.empty_like(a)
            rows = zip(u.unbind(), a.unbind(), f.unbind(), c[:-1].unbind(), c[1:].unbind(), strict=True)
            for u_t, a_t, f_t, old, new in rows:
                torch.addcmul(a_t, v, old, out=f_t).sigmoid_()
                torch.lerp(u_t, old, f_t, out=new)
        ctx.save_for_backward(u, f, c, v)
        return c[1:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        u, f, c, v = ctx.saved_tensors
        before = c[:-1]
        rest = 1 - f
        slope = (before - u).mul_(f).mul_(rest)  # in place: fresh memory of a whole sequence costs more than a product
        k = f if v is None else torch.addcmul(f, slope, v)
        flow = grad.clone(memory_format=torch.contiguous_format)
        rows = list(zip(flow[:-1].unbind(), flow[1:].unbind(), k[1:].unbind(), strict=True))
        for own, after, k_t in reversed(rows):
            own.addcmul_(after, k_t)
        grad_a = slope.mul_(flow)
        grad_v = None if v is None else (grad_a * before).sum_to_size(v.shape)
        return rest.mul_(flow), grad_a, grad_v


def blend(u: Tensor, a: Tensor, v: Tensor | None = None) -> Tensor:
    """c of the equations above; all of u, a [steps, …], v broadcast to a step, or None for 0."""
    result: Tensor = Blend.apply(u, a, v)  # type: ignore[no-untyped-call]
    return result


class Delayed(torch.autograd.Function):
    """x [steps, …] a step later, 0 at the first. By slices, the gradient would be filled with zeros and added to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        later = torch.empty_like(x)
        later[0] = 0
        later[1:] = x[:-1]
        return later

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        sooner = torch.empty_like(grad)
        sooner[:-1] = grad[1:]
        sooner[-1] = 0
        return sooner


class Rearranged(torch.autograd.Function):
    """x [items, steps, n], step t of an item being its step order[item, t], which is a permutation that is its own
    inverse: so the gradient is rearranged alike. Whole rows are copied."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return _rows(x, order)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _rows(grad, *ctx.saved_tensors), None


def _rows(x: Tensor, order: Tensor) -> Tensor:
    items, steps = order.shape
    rows = order + steps * torch.arange(items, device=x.device)[:, None]
    return x.reshape(items * steps, -1).index_select(0, rows.flatten()).view(x.shape)


def delayed(x: Tensor) -> Tensor:
    """See `Delayed`."""
    result: Tensor = Delayed.apply(x)  # type: ignore[no-untyped-call]
    return result


def rearranged(x: Tensor, order: Tensor) -> Tensor:
    """See `Rearranged`; order int64 [items, steps]."""
    result: Tensor = Rearranged.apply(x, order)  # type: ignore[no-untyped-call]
    return result
