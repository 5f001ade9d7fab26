"""Fitting a weight matrix to a format: the scale, and the integers.

Two measures of error. Plain: the squared error of the weights. With the second moment of the inputs known from
calibration: the squared error of the *product*, E |(W - W^) x|^2, which is what the network feels. The integers are
then chosen together (coordinate descent on that quadratic), so that rounding errors of a row cancel each other.

Sources: minimum-MSE clipping as in the second paper (papers, 1.4); the quadratic is the layer-wise objective of
Optimal Brain Quantization (Frantar and Alistarh, arXiv 2208.11580); the closed form for the scale is least squares.
"""

from __future__ import annotations

import numpy as np

from bittailor.core.arith import Floats, Ints, round_half_up
from bittailor.core.qformat import QFormat

CANDIDATES = np.geomspace(0.05, 1.0, 60)
"""Clipping thresholds that are tried, as shares of the largest magnitude."""
SMALLEST_ROW = 2.0**-12
"""No row's scale is smaller than this share of the largest row's."""
SWEEPS = 4
"""Rounds of coordinate descent; the error only ever falls, and has settled by then."""
BLOCK = 32
"""Columns that coordinate descent takes together."""


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
            error = ((groups - trial[:, None] * _nearest(groups, trial[:, None], bits)) ** 2).sum(axis=1)
            scale, best = np.where(error < best, trial, scale), np.minimum(error, best)
        scale = _refit(groups, _nearest(groups, scale[:, None], bits), scale)
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
    base = np.broadcast_to(np.asarray(start.scale), (len(weights),)).astype(np.float64)
    # all shares side by side, as so many more rows: [shares, rows] and [shares * rows, columns]
    scale, many = np.outer(shares, base), np.tile(weights, (len(shares), 1))
    q = _nearest(many, scale.reshape(-1, 1), bits)
    for _ in range(2):
        q = _descend(many, scale.ravel(), q, metric, bits)
        scale = _refit_metric(many, q, scale, metric, per_row)
    q = _descend(many, scale.ravel(), q, metric, bits)
    errors = _row_errors(many - scale.reshape(-1, 1) * q, metric).reshape(scale.shape)
    best = errors.argmin(axis=0) if per_row else np.full(len(weights), errors.sum(axis=1).argmin())
    rows = np.arange(len(weights))
    scales = scale[best, rows] if per_row else scale[best[0], :1]
    integers = q.reshape(*scale.shape, columns)[best, rows]
    return QFormat("weight", bits, tuple(float(s) for s in scales)), integers


def _top(bits: int) -> int:
    return 1 if bits == 1 else (1 << (bits - 1)) - 1


def _nearest(weights: Floats, scale: Floats, bits: int) -> Ints:
    return _whole(weights / scale, bits).astype(np.int64)


def _whole(values: Floats, bits: int) -> Floats:
    """The nearest integers of a width, as float64."""
    if bits == 1:
        return np.where(values < 0, -1.0, 1.0)
    return np.clip(round_half_up(values), -_top(bits), _top(bits))


def _refit(groups: Floats, q: Ints, scale: Floats) -> Floats:
    """The least-squares scale for given integers."""
    power = (q * q).sum(axis=1)
    fitted = (groups * q).sum(axis=1) / np.maximum(power, 1)
    return _not_vanishing(np.where((power > 0) & (fitted > 0), fitted, scale))


def _not_vanishing(scale: Floats) -> Floats:
    """Of every set of scales [..., rows], none below its share of the largest."""
    return np.asarray(np.maximum(scale, SMALLEST_ROW * scale.max(axis=-1, keepdims=True)))


def _refit_metric(weights: Floats, q: Ints, scale: Floats, metric: Floats, per_row: bool) -> Floats:
    """The least-squares scales [shares, rows] of the product for given integers [shares * rows, columns]."""
    projected = q @ metric
    along, power = ((part * projected).sum(axis=1).reshape(scale.shape) for part in (weights, q))
    if not per_row:
        along, power = (np.broadcast_to(part.sum(axis=1, keepdims=True), scale.shape) for part in (along, power))
    fitted = along / np.maximum(power, 1e-300)
    return _not_vanishing(np.where((power > 0) & (fitted > 0), fitted, scale))


def _row_errors(difference: Floats, metric: Floats) -> Floats:
    return np.asarray(((difference @ metric) * difference).sum(axis=1))


def _descend(weights: Floats, scale: Floats, q: Ints, metric: Floats, bits: int) -> Ints:
    """Coordinate descent: every column in turn takes the integer that is best given all others.

    Columns are transposed to rows here, and what a block of them changes reaches the columns beyond it as one matrix
    product; a column at a time would wait for memory all the time in a large matrix.
    """
    columns = weights.shape[1]
    steps = np.ascontiguousarray(q.T, np.float64)
    gradient = metric @ (weights.T - scale * steps)
    for _ in range(SWEEPS):
        changed = False
        for start in range(0, columns, BLOCK):
            block = slice(start, min(start + BLOCK, columns))
            inside, local, before = metric[block, block], gradient[block].copy(), steps[block].copy()
            for k, own in enumerate(np.diagonal(inside)):
                old = steps[start + k]
                new = _whole(old + local[k] / (own * scale), bits)
                if (new != old).any():
                    local[k + 1 :] -= inside[k, k + 1 :, None] * (scale * (new - old))
                    steps[start + k] = new
            moved = steps[block] - before
            if moved.any():
                changed = True
                gradient -= metric[:, block] @ (scale * moved)
        if not changed:
            break
    return np.ascontiguousarray(steps.T).astype(np.int64)
