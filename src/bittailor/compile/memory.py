"""Placement: values that are never in use at the same time share a slot."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Interval = tuple[int, int]
"""When a value is in use: the first and last place in an order, both included."""


def first_fit(
    spans: Sequence[Interval], suits: Callable[[int, Sequence[int]], bool] = lambda value, members: True
) -> list[list[int]]:
    """Give each value, in the order given, the first slot that is free all the while.

    spans  per value: when it is in use
    suits  (value, the values in a slot) -> whether a slot should be preferred
    Returns the slots: the indices of their values.

    >>> first_fit([(0, 2), (1, 3), (3, 4), (4, 4)])
    [[0, 2], [1, 3]]
    """
    slots: list[list[int]] = []
    for value, (first, last) in enumerate(spans):
        free = [slot for slot in slots if all(spans[i][1] < first or last < spans[i][0] for i in slot)]
        slot = next((slot for slot in free if suits(value, slot)), free[0] if free else None)
        if slot is None:
            slots.append(slot := [])
        slot.append(value)
    return slots
