"""A cache of bounded size that forgets what was used the longest ago."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Keeps the latest used values up to a total weight of `most`; safe between threads, and empty after a fork."""

    def __init__(self, most: int, weigh: Callable[[V], int] = lambda value: 1) -> None:
        self._most, self._weigh = most, weigh
        self.clear()
        _ALIVE.add(self)

    def clear(self) -> None:
        """Forget everything, and whoever is at work here."""
        self._items: OrderedDict[K, V] = OrderedDict()
        self._total = 0
        self._lock = Lock()

    def get(self, key: K) -> V | None:
        """What is remembered, or None."""
        with self._lock:
            value = self._items.get(key)
            if value is not None:
                self._items.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> V:
        """Remember `value`; returns it."""
        with self._lock:
            old = self._items.pop(key, None)
            if old is not None:
                self._total -= self._weigh(old)
            self._items[key] = value
            self._total += self._weigh(value)
            while self._total > self._most and len(self._items) > 1:
                self._total -= self._weigh(self._items.popitem(last=False)[1])
        return value

    def __len__(self) -> int:
        return len(self._items)


_ALIVE: WeakSet[LruCache[Any, Any]] = WeakSet()


def _clear_all() -> None:
    # a thread that held a lock is not there in the child, and may have left its cache half changed
    for cache in list(_ALIVE):
        cache.clear()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_clear_all)
