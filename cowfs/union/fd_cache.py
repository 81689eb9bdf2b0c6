"""Bounded caches of open descriptors: the least recently used one is closed when a cache is full."""

from __future__ import annotations

import os
import resource
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_MOST = 2048
# What the daemon, its engine and one operation (two names, a listing, a copy-up) need beside the caches.
_RESERVED = 96
_LEAST = 32


class DescriptorCache(Generic[Key]):
    """Descriptors by key, each with a flag that says whether it may be written through."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._open: OrderedDict[Key, tuple[int, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, key: object) -> bool:
        return key in self._open

    def get(self, key: Key) -> tuple[int, bool] | None:
        found = self._open.get(key)
        if found is not None:
            self._open.move_to_end(key)
        return found

    def put(self, key: Key, fd: int, writable: bool = False) -> None:
        """Hand a descriptor over to the cache; it stays open while at least 16 younger ones are asked for."""
        self.discard(key)
        self._open[key] = (fd, writable)
        if len(self._open) > self.capacity:
            _, (oldest, _) = self._open.popitem(last=False)
            os.close(oldest)

    def discard(self, key: Key) -> None:
        found = self._open.pop(key, None)
        if found is not None:
            os.close(found[0])

    def clear(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1][0])


def cache_capacity() -> int:
    """How many descriptors each of the two caches may hold under RLIMIT_NOFILE, raised to its hard limit first."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = _MOST * 2 + _RESERVED if hard == resource.RLIM_INFINITY else hard
    return max(_LEAST, min(_MOST, (limit - _RESERVED) // 2))
