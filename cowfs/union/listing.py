"""The listing of one directory, with cookies that stay good while entries come and go; and which listings are kept.

A cookie is the position behind an entry: small (32-bit programs store it in 31 bits), never used twice. A listing that
nobody changed is the same whenever it is made, so it may be dropped and made again; a changed one is kept as long as
its node.
"""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

_LAST_COOKIE = (1 << 31) - 2
_KEPT = 256


class Listing:
    """The names of one directory. They lie here in the order opposite to that in which they are read."""

    def __init__(self, entries: dict[bytes, tuple[int, int]]) -> None:
        """`entries`: name -> (type, node number or 0 as long as it was not looked up)."""
        names = sorted(entries, reverse=True)
        self._names: list[bytes | None] = [*names]
        self._types = array("H", (entries[name][0] for name in names))
        self.numbers = array("L", (entries[name][1] for name in names))
        # Negative, so that they grow with the position.
        self._cookies = array("l", range(-_LAST_COOKIE, len(entries) - _LAST_COOKIE))
        self._next_cookie = _LAST_COOKIE - len(entries)
        self._index: dict[bytes, int] | None = None
        self._removed = 0
        self.changed = False
        self.read = False  # since it was made or changed, by a caller
        # Counted along, since the link count of a directory is asked for after each change in it.
        self.subdirectories = sum(kind == stat.S_IFDIR for kind, _ in entries.values())

    def __len__(self) -> int:
        return len(self._names) - self._removed

    def after(self, cookie: int) -> Iterator[tuple[int, bytes, int, int, int]]:
        """(position, name, cookie, type, number or 0) of what comes behind a cookie."""
        names, cookies, types, numbers = self._names, self._cookies, self._types, self.numbers
        for position in range(bisect_left(cookies, -cookie) - 1, -1, -1):
            name = names[position]
            if name is not None:
                yield position, name, -cookies[position], types[position], numbers[position]

    def put(self, name: bytes, kind: int) -> None:
        """A name is there now, or is something else now."""
        self.changed = True
        self.read = False
        index = self._by_name()
        position = index.get(name)
        if position is None:
            index[name] = len(self._names)
            self._names.append(name)
            self._types.append(kind)
            self.numbers.append(0)
            self._cookies.append(-self._next_cookie)
            self._next_cookie -= 1
        else:
            self.subdirectories -= self._types[position] == stat.S_IFDIR
            self._types[position] = kind
            self.numbers[position] = 0
        self.subdirectories += kind == stat.S_IFDIR

    def remove(self, name: bytes) -> None:
        self.changed = True
        self.read = False
        position = self._by_name().pop(name, None)
        if position is not None:
            self.subdirectories -= self._types[position] == stat.S_IFDIR
            self._names[position] = None
            self._removed += 1
            if self._removed > 64 + len(self._names) // 2:
                self._compact()

    def _by_name(self) -> dict[bytes, int]:
        if self._index is None:
            self._index = {name: position for position, name in enumerate(self._names) if name is not None}
        return self._index

    def _compact(self) -> None:
        """Let go of removed names; the cookies of the others stay."""
        kept = [position for position, name in enumerate(self._names) if name is not None]
        self._names = [self._names[position] for position in kept]
        self._types = array("H", (self._types[position] for position in kept))
        self.numbers = array("L", (self.numbers[position] for position in kept))
        self._cookies = array("l", (self._cookies[position] for position in kept))
        self._index = None
        self._removed = 0


class Listed(Protocol):
    """A directory that may have its listing at hand."""

    listing: Listing | None


class Listings:
    """The unchanged directories of one tree whose listings are in memory; few: the longest unused one goes first."""

    def __init__(self) -> None:
        self._directories: OrderedDict[Listed, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._directories)

    def add(self, directory: Listed) -> None:
        self._directories[directory] = None
        if len(self._directories) > _KEPT:
            oldest, _ = self._directories.popitem(last=False)
            oldest.listing = None

    def used(self, directory: Listed) -> None:
        self._directories.move_to_end(directory)

    def drop(self, directory: Listed) -> None:
        """It changed, or its node goes: its listing is not one to be made again."""
        self._directories.pop(directory, None)

    def clear(self) -> None:
        self._directories.clear()
