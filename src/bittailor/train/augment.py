"""Augmentation: what is done to training items each time they are met, so that few of them go further.

A stretch of time is masked, as in SpecAugment (Park et al., arXiv 1904.08779), what happens is moved in time, and noise
is added. The teacher is asked about the altered items, so that where labels say too little it says what to learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Augmentation:
    """How items are altered; `alters` is False where they are not.

    noise  standard deviation of Gaussian noise, in input units
    mask   share of an item's steps, at most, that one stretch takes, whose values become those of `mean`
    shift  steps, at most, that an item is moved to either side; the value at the edge fills what is left
    mean   [features]
    """

    noise: float
    mask: float
    shift: int
    mean: Tensor

    @property
    def alters(self) -> bool:
        """Whether it does anything."""
        return bool(self.noise or self.mask or self.shift)

    def __call__(self, x: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
        """Items [items, steps, features] of these lengths, altered; steps beyond a length are only noise."""
        items, steps = x.shape[:2]
        at, sizes = torch.arange(steps)[None, :], lengths[:, None]
        if self.shift:
            by = torch.randint(-self.shift, self.shift + 1, (items, 1), generator=generator)
            source = torch.where(at < sizes, torch.minimum((at - by).clamp(min=0), sizes - 1), at)
            x = x.gather(1, source[:, :, None].expand_as(x))
        if self.mask:
            length = (self.mask * sizes * torch.rand(items, 1, generator=generator)).long()
            start = ((sizes - length + 1) * torch.rand(items, 1, generator=generator)).long()
            x = torch.where(((at >= start) & (at < start + length))[:, :, None], self.mean, x)
        if self.noise:
            x = x + self.noise * torch.randn(x.shape, generator=generator)
        return x
