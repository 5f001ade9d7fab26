"""Front: against the definition written out, and hypervolume against counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bittailor.errors import UnknownName
from bittailor.search import ReferenceBox, hypervolume, knee, nondominated, smallest_within
from bittailor.search.front import make_front

# small integers, so that ties and duplicates are common
_POINTS = st.integers(1, 4).flatmap(
    lambda m: st.lists(st.lists(st.integers(0, 6), min_size=m, max_size=m), min_size=1, max_size=40))


def by_definition(points: NDArray[np.float64]) -> list[int]:
    kept = []
    for i, p in enumerate(points):
        dominated = any((q <= p).all() and (q < p).any() for q in points)
        if not dominated and not any((q == p).all() for q in points[:i]):
            kept.append(i)
    return kept


@given(_POINTS)
def test_nondominated_is_its_definition(points: list[list[int]]) -> None:
    array = np.array(points, np.float64)
    assert nondominated(array).tolist() == by_definition(array)


def test_nondominated_leaves_out_what_is_not_finite() -> None:
    nan, inf = float("nan"), float("inf")
    assert nondominated([[nan, 0.0], [1.0, 1.0], [0.0, inf], [-inf, 2.0]]).tolist() == [1]
    assert nondominated([[nan, nan]]).tolist() == []
    assert nondominated(np.empty((0, 2))).tolist() == []


@given(_POINTS)
def test_hypervolume_counts_unit_cubes(points: list[list[int]]) -> None:
    array, m = np.array(points), len(points[0])
    corners = np.stack(np.meshgrid(*[np.arange(5)] * m, indexing="ij"), -1).reshape(-1, m)
    dominated = (array[None, :, :] <= corners[:, None, :]).all(axis=2).any(axis=1).sum()
    assert hypervolume(array, np.full(m, 5.0)) == pytest.approx(dominated)


def test_hypervolume_of_nothing_and_beyond_the_reference() -> None:
    assert hypervolume(np.empty((0, 2)), [1.0, 1.0]) == 0.0
    assert hypervolume([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]], [1.0, 1.0]) == 0.0
    assert hypervolume([[0.25]], [1.0]) == 0.75


def test_box_measures_shares_of_itself() -> None:
    box = ReferenceBox.around([[1.0, 400.0], [5.0, 200.0], [float("nan"), 0.0]])
    assert box.ideal == (1.0, 200.0)
    assert box.reference == pytest.approx((5.4, 420.0))
    assert box.hypervolume([[1.0, 200.0]]) == pytest.approx(1.0)
    assert box.hypervolume([[0.0, 100.0]]) > 1.0
    assert box.hypervolume([[5.4, 200.0]]) == 0.0
    assert box.hypervolume(np.empty((0, 2))) == 0.0
    flat = ReferenceBox.around([[2.0, 0.0]])
    assert flat.reference == pytest.approx((2.2, 0.1))
    with pytest.raises(ValueError, match="no finite point"):
        ReferenceBox.around([[float("nan"), 1.0]])


def test_knee() -> None:
    assert knee([[0.0, 10.0], [1.0, 2.0], [6.0, 1.0], [10.0, 0.0]]) == 1
    assert knee([[3.0, 3.0]]) == 0
    assert knee(np.empty((0, 2))) is None


def test_smallest_within() -> None:
    points = [[5.0, 10.0], [2.0, 30.0], [2.5, 30.0], [1.0, 90.0]]
    assert smallest_within(points, 0, 2.5) == 1  # of two with size 30 the one with the smaller error
    assert smallest_within(points, 0, 5.0, minimise=1) == 0
    assert smallest_within(points, 0, 0.5) is None
    assert smallest_within(np.empty((0, 2)), 0, 1.0) is None


def test_front_sorts_names_and_saves() -> None:
    points = [[3.0, 1.0], [1.0, 3.0], [3.0, 3.0], [1.0, 3.0]]
    front = make_front(("error", "size"), [(0,), (1,), (2,), (3,)], points,
                       [{"error": e, "size": s} for e, s in points])
    assert front.genomes == ((1,), (0,))
    assert front.points.tolist() == [[1.0, 3.0], [3.0, 1.0]]
    assert front.smallest_within("error", 2.0) == 0
    assert front.to_dict()["solutions"][0] == {"genome": [1], "values": {"error": 1.0, "size": 3.0}}
    with pytest.raises(UnknownName, match="unknown objective 'eror'; did you mean 'error'"):
        front.column("eror")
