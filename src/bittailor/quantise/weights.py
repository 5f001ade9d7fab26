"""Fitting a weight matrix to a format: the scale, and the integers.

Two measures of error. Plain: the squared error of the weights. With the second moment of the inputs known from
calibration: the squared error of the *product*, E |(W - W^) x|^2, which is what the network feels. The integers are
then chosen together (coordinate descent on that quadratic), so that rounding errors of a row cancel each other.

Sources: minimum-MSE clipping as in the second paper (papers, 1.4); the quadratic is the layer-wise objective of
Optimal Brain Quantization (Frantar and Alistarh, arXiv 2208.11580); the closed form for the scale is least squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bittailor.core.arith import Floats, Ints
from bittailor.core.qformat import QFormat

CANDIDATES = np.geomspace(0.05, 1.0, 60)
"""Clipping thresholds that are tried, as shares of the largest magnitude."""
SMALLEST_ROW = 2.0**-12
"""No row's scale is smaller than this share of the largest row's."""
SWEEPS = 4
"""Rounds of coordinate descent; the error only ever falls, and has settled by then."""
BLOCK, LEAF = 60, 4
"""Columns that coordinate descent takes together; of those, how many one by one."""
WORTH_LEAVING_OUT = 0.7
"""Settled rows are left out where this share or less is unsettled: until then the copy costs more."""


def weight_format(weights: Floats, bits: int, method: str, per_row: bool) -> QFormat:
    """A format by the weights alone: `minmax` covers the largest magnitude, `mse` the least squared error.

    weights  [rows, columns]
    per_row  one scale per row, otherwise one for the matrix
    """
    groups = weights if per_row else weights.reshape(1, -1)
    top = _top(bits)
    peak = np.abs(groups).max(axis=1)
    # a row of (almost) nothing lives in the scale of the others: its bias is counted in steps of that scale
    peak = np.maximum(peak, SMALLEST_ROW * peak.max() or 1.0)
    scale = peak / top
    if bits == 1:
        scale = np.abs(groups).mean(axis=1)
        scale = np.maximum(scale, SMALLEST_ROW * scale.max() or 1e-6)  # one bit has no zero: make it small
    elif method == "mse":
        best = np.full(len(groups), np.inf)
        for share in CANDIDATES:
            trial = share * peak / top
            error = ((groups - trial[:, None] * _whole(groups / trial[:, None], bits)) ** 2).sum(axis=1)
            scale, best = np.where(error < best, trial, scale), np.minimum(error, best)
        scale = _refit(groups, _whole(groups / scale[:, None], bits), scale)
    return QFormat("weight", bits, tuple(float(s) for s in scale))


def fit_to_inputs(weights: Floats, bits: int, moment: Floats, per_row: bool) -> tuple[QFormat, Ints]:
    """Format and integers that minimise E |(W - W^) x|^2.

    weights  [rows, columns]
    moment   [columns, columns], the second moment E[x x^T] of the inputs
    """
    columns = weights.shape[1]
    # a little of the plain error keeps directions that calibration never saw from drifting
    ridge = 0.01 * float(np.trace(moment)) / columns + 1e-12
    metric = moment + ridge * np.eye(columns)
    start = weight_format(weights, bits, "mse", per_row)
    shares = np.array((1.0,) if bits >= 8 else (0.7, 0.8, 0.9, 1.0, 1.1, 1.2))
    scale = np.outer(shares, np.broadcast_to(np.asarray(start.scale), (len(weights),)).astype(np.float64))
    problem = _Problem(np.ascontiguousarray(weights.T), metric, bits)
    q = _whole(problem.weights[:, None] / scale, bits)
    for _ in range(2):
        problem.descend(q, scale)
        scale = problem.refit(q, scale, per_row)
    problem.descend(q, scale)
    errors = problem.errors(q, scale)
    best = errors.argmin(axis=0) if per_row else np.full(len(weights), errors.sum(axis=1).argmin())
    rows = np.arange(len(weights))
    scales = scale[best, rows] if per_row else scale[best[0], :1]
    integers = np.ascontiguousarray(q[:, best, rows].T).astype(np.int64)
    return QFormat("weight", bits, tuple(float(s) for s in scales)), integers


def _top(bits: int) -> int:
    return 1 if bits == 1 else (1 << (bits - 1)) - 1


def _whole(values: Floats, bits: int) -> Floats:
    """The nearest integers of a width, as float64; they take the place of the values."""
    if bits == 1:
        return np.where(values < 0, -1.0, 1.0)
    values += 0.5
    np.floor(values, out=values)
    np.minimum(values, _top(bits), out=values)
    return np.maximum(values, -_top(bits), out=values)


def _refit(groups: Floats, q: Floats, scale: Floats) -> Floats:
    """The least-squares scale for given integers."""
    power = (q * q).sum(axis=1)
    fitted = (groups * q).sum(axis=1) / np.maximum(power, 1)
    return _not_vanishing(np.where((power > 0) & (fitted > 0), fitted, scale))


def _not_vanishing(scale: Floats) -> Floats:
    """Of every set of scales [..., rows], none below its share of the largest."""
    return np.asarray(np.maximum(scale, SMALLEST_ROW * scale.max(axis=-1, keepdims=True)))


@dataclass(frozen=True, eq=False)
class _Problem:
    """The quadratic of a matrix, solved for several clipping thresholds ("shares") side by side. Columns are rows here
    and before all else in every array, so that what coordinate descent takes together lies together.

    weights  [columns, rows]
    metric   [columns, columns]
    """

    weights: Floats
    metric: Floats
    bits: int

    @cached_property
    def _wanted(self) -> Floats:
        """The metric times the weights, [columns, rows]: the same for all widths and shares."""
        return self.metric @ self.weights

    def descend(self, q: Floats, scale: Floats) -> None:
        """Coordinate descent on integers q [columns, shares, rows], in place: every column in turn takes the integers
        that are best given all others.

        A block of columns meets the integers of all others in one matrix product when its turn comes. Rows that a
        whole round leaves as they are have settled: no later one can change them.
        """
        columns = len(q)
        steps, factor = q.reshape(columns, -1), scale.ravel()
        wanted = (self._wanted[:, None] / scale).reshape(columns, -1)
        unsettled = np.arange(len(factor))
        for _ in range(SWEEPS):
            before = steps.copy()
            for start in range(0, columns, BLOCK):
                block = slice(start, min(start + BLOCK, columns))
                gradient = self.metric[block] @ steps
                np.subtract(wanted[block], gradient, out=gradient)
                _descend_block(steps[block], gradient, self.metric[block, block], self.bits)
            moved = (steps != before).any(axis=0)
            if len(unsettled) < len(factor):
                q.reshape(columns, -1)[:, unsettled] = steps
            if not moved.any():
                break
            if moved.mean() < WORTH_LEAVING_OUT:
                unsettled, steps, wanted = unsettled[moved], steps[:, moved], wanted[:, moved]

    def refit(self, q: Floats, scale: Floats, per_row: bool) -> Floats:
        """The least-squares scales [shares, rows] of the product for given integers."""
        product = (self.metric @ q.reshape(len(q), -1)).reshape(q.shape)
        along = np.einsum("cr,csr->sr", self.weights, product)
        power = np.einsum("csr,csr->sr", q, product)
        if not per_row:
            along, power = (np.broadcast_to(part.sum(axis=1, keepdims=True), scale.shape) for part in (along, power))
        fitted = along / np.maximum(power, 1e-300)
        return _not_vanishing(np.where((power > 0) & (fitted > 0), fitted, scale))

    def errors(self, q: Floats, scale: Floats) -> Floats:
        """The quadratic of every row, [shares, rows]."""
        difference = self.weights[:, None] - scale * q
        product = (self.metric @ difference.reshape(len(q), -1)).reshape(q.shape)
        return np.asarray(np.einsum("csr,csr->sr", difference, product))


def _descend_block(steps: Floats, gradient: Floats, metric: Floats, bits: int) -> bool:
    """A round over a block of columns, in halves; returns whether an integer changed.

    steps     [columns of the block, rows], changed in place
    gradient  the same shape: the metric times what is missing, in units of each row's scale; used up
    """
    half = len(steps) // 2
    if len(steps) > LEAF:
        first = steps[:half].copy()
        changed = _descend_block(steps[:half], gradient[:half], metric[:half, :half], bits)
        if changed:
            gradient[half:] -= metric[half:, :half] @ (steps[:half] - first)
        return _descend_block(steps[half:], gradient[half:], metric[half:, half:], bits) or changed
    changed = False
    for k, own in enumerate(np.diagonal(metric)):
        new = gradient[k] / own
        new += steps[k]
        new = _whole(new, bits)
        move = new - steps[k]
        if move.any():
            changed = True
            steps[k] = new
            for later in range(k + 1, len(steps)):
                gradient[later] -= metric[later, k] * move
    return changed
