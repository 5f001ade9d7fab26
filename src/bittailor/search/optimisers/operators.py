"""Crossovers and mutations of integer genomes. Randomness comes from the generator that they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bittailor.common.registry import Table

Indices: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

_ETA = 3.0  # how close to their parents SBX and PM children stay; MOHAQ's figure


def _uniform(parents: Indices, levels: Indices, rng: np.random.Generator) -> Indices:
    """Each gene of a pair changes sides with probability 1/2 (Syswerda 1989)."""
    swap = rng.random(parents.shape[1:]) < 0.5
    return np.where(swap, parents[::-1], parents)


def _two_point(parents: Indices, levels: Indices, rng: np.random.Generator) -> Indices:
    """The genes between two random cuts change sides."""
    cuts = np.sort(rng.integers(0, len(levels) + 1, (parents.shape[1], 2)), axis=1)
    gene = np.arange(len(levels))
    swap = (cuts[:, :1] <= gene) & (gene < cuts[:, 1:])
    return np.where(swap, parents[::-1], parents)


def _sbx(parents: Indices, levels: Indices, rng: np.random.Generator) -> Indices:
    """pymoo's simulated binary crossover, rounded to the nearest integer (Deb, Agrawal 1995)."""
    from pymoo.operators.crossover.sbx import cross_sbx

    column = np.ones((parents.shape[1], 1))
    low, high = _bounds(levels)
    children = cross_sbx(parents.astype(np.float64), low, high, _ETA * column, 0.5 * column, 0.5 * column,
                         random_state=rng)
    return _rounded(children, levels)


def _step(children: Indices, levels: Indices, rate: Floats, rng: np.random.Generator) -> Indices:
    """A mutated gene goes one (1/2) or two (1/4) widths up or down, or to any other width (1/4)."""
    size = children.shape
    step = rng.choice([1, 2], size, p=[2 / 3, 1 / 3]) * rng.choice([-1, 1], size)
    moved = children + step
    # a step beyond an end goes the other way, so that the ends are left and met like other widths
    moved = np.where((moved < 0) | (moved >= levels), children - step, moved)
    moved = np.clip(moved, 0, levels - 1)
    moved = np.where(rng.random(size) < 0.25, _other(children, levels, rng), moved)
    return np.where(rng.random(size) < rate, moved, children)


def _reset(children: Indices, levels: Indices, rate: Floats, rng: np.random.Generator) -> Indices:
    """A mutated gene takes any other width, all alike."""
    return np.where(rng.random(children.shape) < rate, _other(children, levels, rng), children)


def _pm(children: Indices, levels: Indices, rate: Floats, rng: np.random.Generator) -> Indices:
    """pymoo's polynomial mutation, rounded to the nearest integer (Deb, Goyal 1996)."""
    from pymoo.operators.mutation.pm import mut_pm

    n = len(children)
    low, high = _bounds(levels)
    mutated = mut_pm(children.astype(np.float64), low, high, np.full(n, _ETA), np.full(n, rate.max()),
                     at_least_once=False, random_state=rng)
    return _rounded(mutated, levels)


# pairs of parents int64 [2, pairs, genes], levels int64 [genes], rng -> children of the same shape
CROSSOVERS: Table[Callable[[Indices, Indices, np.random.Generator], Indices]] = Table("crossover", {
    "uniform": _uniform,
    "two-point": _two_point,
    "sbx": _sbx,
})

# children int64 [n, genes], levels int64 [genes], probability per gene [genes], rng -> mutated children
MUTATIONS: Table[Callable[[Indices, Indices, Floats, np.random.Generator], Indices]] = Table("mutation", {
    "step": _step,
    "reset": _reset,
    "pm": _pm,
})


def _other(children: Indices, levels: Indices, rng: np.random.Generator) -> Indices:
    """Another width for each gene, all alike; the same for a gene with one width."""
    drawn = rng.integers(0, np.maximum(levels - 1, 1), children.shape)
    return np.where(levels > 1, drawn + (drawn >= children), children)


def _bounds(levels: Indices) -> tuple[Floats, Floats]:
    # half a step wider than the integers, or rounding would give the two end widths half their share
    return np.full(len(levels), -0.5), np.asarray(levels, np.float64) - 0.5


def _rounded(values: Any, levels: Indices) -> Indices:
    return np.asarray(np.clip(np.rint(values), 0, levels - 1), np.int64)

