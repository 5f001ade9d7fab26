"""The element-wise recurrence of SRU and minGRU, with a gradient of its own: one vector operation a step each way.

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
        c = u.new_zeros((len(u) + 1, *u.shape[1:]))
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
        slope = (before - u) * f * (1 - f)
        k = f if v is None else torch.addcmul(f, slope, v)
        flow = grad.clone(memory_format=torch.contiguous_format)
        rows = list(zip(flow[:-1].unbind(), flow[1:].unbind(), k[1:].unbind(), strict=True))
        for own, after, k_t in reversed(rows):
            own.addcmul_(after, k_t)
        grad_a = flow * slope
        grad_v = None if v is None else (grad_a * before).sum_to_size(v.shape)
        return flow * (1 - f), grad_a, grad_v


def blend(u: Tensor, a: Tensor, v: Tensor | None = None) -> Tensor:
    """c of the equations above; all of u, a [steps, …], v broadcast to a step, or None for 0."""
    result: Tensor = Blend.apply(u, a, v)  # type: ignore[no-untyped-call]
    return result
