"""Boxes and arrows in columns: where the operators of a drawing stand, worked out from who reads whom.

After Sugiyama, Tagawa, Toda: Methods for visual understanding of hierarchical system structures (IEEE SMC 11, 1981):
columns by the longest way from a source, an order in each that crosses few arrows, then heights that keep neighbours
level. An arrow over several columns passes through a gap of its own in each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Point = tuple[float, float]

COLUMN_GAP, ROW_GAP = 30.0, 12.0
LANE = 6.0
"""Height of the gap that an arrow passes through."""
SWEEPS = 12


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in pixels from the upper left corner.

    corners  the upper left corner of each box
    routes   (from, to) -> the points that the arrow passes, each pair of them joined by a curve or a level line
    """

    corners: tuple[Point, ...]
    routes: Mapping[tuple[int, int], tuple[Point, ...]]
    width: float
    height: float


@dataclass
class _Columns:
    """Boxes and lanes by column: places below `boxes` are boxes, others lanes; `links` join neighbouring columns."""

    boxes: int
    columns: list[list[int]]
    links: list[tuple[int, int]]
    heights: list[float]
    chains: dict[tuple[int, int], list[int]]


def arranged(sizes: Sequence[Point], edges: Sequence[tuple[int, int]]) -> Layout:
    """Place boxes of some (width, height) so that every edge (from, to) leads to the right.

    Raises  ValueError where edges form a circle.
    """
    level = _levels(len(sizes), edges)
    columns = _with_lanes(sizes, edges, level)
    _order(columns)
    middles = _heights(columns)
    top = min((middles[i] - columns.heights[i] / 2 for i in range(len(middles))), default=0.0)
    widths = [max((sizes[i][0] for i in column if i < len(sizes)), default=0.0) for column in columns.columns]
    lefts = [sum(widths[:c]) + COLUMN_GAP * c for c in range(len(widths))]
    of = {i: c for c, column in enumerate(columns.columns) for i in column}
    routes = {}
    for (source, target), chain in columns.chains.items():
        points = [(lefts[of[source]] + sizes[source][0], middles[source] - top)]
        for lane in chain:
            left, y = lefts[of[lane]], middles[lane] - top
            points += [(left, y), (left + widths[of[lane]], y)]
        routes[source, target] = (*points, (lefts[of[target]], middles[target] - top))
    corners = tuple((lefts[of[i]], middles[i] - top - sizes[i][1] / 2) for i in range(len(sizes)))
    return Layout(corners, routes, (lefts[-1] + widths[-1]) if lefts else 0.0,
                  max((middles[i] - top + columns.heights[i] / 2 for i in range(len(middles))), default=0.0))


def _levels(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest way from a source to each box."""
    level = [0] * count
    for _ in range(count + 1):
        moved = False
        for source, target in edges:
            if level[target] <= level[source]:
                level[target], moved = level[source] + 1, True
        if not moved:
            return level
    raise ValueError("the edges form a circle")


def _with_lanes(sizes: Sequence[Point], edges: Sequence[tuple[int, int]], level: Sequence[int]) -> _Columns:
    """The columns, with a lane where an arrow passes; the arrows of one source share theirs."""
    found = _Columns(len(sizes), [[] for _ in range(max(level, default=-1) + 1)], [], [h for _, h in sizes], {})
    for i, column in enumerate(level):
        found.columns[column].append(i)
    lanes: dict[tuple[int, int], int] = {}
    for source, target in dict.fromkeys(edges):
        chain, before = [], source
        for column in range(level[source] + 1, level[target]):
            if (source, column) not in lanes:
                lanes[source, column] = len(found.heights)
                found.columns[column].append(len(found.heights))
                found.links.append((before, len(found.heights)))
                found.heights.append(LANE)
            before = lanes[source, column]
            chain.append(before)
        found.links.append((before, target))
        found.chains[source, target] = chain
    return found


def _neighbours(columns: _Columns) -> tuple[list[list[int]], list[list[int]]]:
    """Of every place what leads to it, and what it leads to."""
    before: list[list[int]] = [[] for _ in columns.heights]
    after: list[list[int]] = [[] for _ in columns.heights]
    for a, b in columns.links:
        before[b].append(a)
        after[a].append(b)
    return before, after


def _order(columns: _Columns) -> None:
    """Sort every column by the mean place of its neighbours, to and fro; keep what crosses least."""
    before, after = _neighbours(columns)
    best, least = [list(c) for c in columns.columns], _crossings(columns)
    for sweep in range(SWEEPS):
        near = after if sweep % 2 else before
        for column in reversed(columns.columns) if sweep % 2 else columns.columns:
            place = {i: k for c in columns.columns for k, i in enumerate(c)}
            mean = {i: sum(place[n] for n in near[i]) / len(near[i]) if near[i] else float(place[i]) for i in column}
            column.sort(key=lambda i, mean=mean: mean[i])  # type: ignore[misc]
        crossed = _crossings(columns)
        if crossed < least:
            best, least = [list(c) for c in columns.columns], crossed
    columns.columns = best


def _crossings(columns: _Columns) -> int:
    place = {i: (c, k) for c, column in enumerate(columns.columns) for k, i in enumerate(column)}
    by_column: dict[int, list[tuple[int, int]]] = {}
    for a, b in columns.links:
        by_column.setdefault(place[a][0], []).append((place[a][1], place[b][1]))
    return sum((a0 - b0) * (a1 - b1) < 0 for links in by_column.values()
               for i, (a0, a1) in enumerate(links) for b0, b1 in links[:i])


def _heights(columns: _Columns) -> list[float]:
    """The middle of every place: as level with its neighbours as those above and below it allow."""
    before, after = _neighbours(columns)
    middles = [0.0] * len(columns.heights)
    for column in columns.columns:
        for i, y in zip(column, _apart(column, [0.0] * len(column), columns.heights), strict=True):
            middles[i] = y
    for sweep in range(SWEEPS):
        for column in reversed(columns.columns) if sweep % 2 else columns.columns:
            near = [before[i] + after[i] for i in column]
            wanted = [sum(middles[n] for n in ns) / len(ns) if ns else middles[i]
                      for i, ns in zip(column, near, strict=True)]
            for i, y in zip(column, _apart(column, wanted, columns.heights), strict=True):
                middles[i] = y
    return middles


def _apart(column: Sequence[int], wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """The middles nearest to those wanted, in least squares, that keep order and gaps (pool adjacent violators)."""
    offsets, total = [], 0.0
    for k, i in enumerate(column):
        total += heights[i] / 2 + (heights[column[k - 1]] / 2 + ROW_GAP if k else 0.0)
        offsets.append(total)
    pools: list[list[float]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        pools.append([want - offset, 1.0])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (a, n), (b, m) = pools[-2], pools.pop()
            pools[-1] = [(a * n + b * m) / (n + m), n + m]
    level = [mean for mean, count in pools for _ in range(int(count))]
    return [y + offset for y, offset in zip(level, offsets, strict=True)]
