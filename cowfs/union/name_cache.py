"""Negative name cache: a look-up of a name that is not there, and each new name, then costs no system call.

For a directory in which things were not found a few times the names in its layers are read once. Those of the
read-only layers never change; those of the upper layer are kept along, for which every name that is made there must be
told of (`NameCache.made`). A name too many costs the system call that it would have cost anyway.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from cowfs.union.layer import FILE_SYSTEM_ENCODING, open_listing
from cowfs.union.nodes import Directory, LowerDirectory

_MISSES = 8
"""After so many names that were not there it pays to read them all."""
_NAMES_KEPT = 400_000
"""Of all directories together: some 40 MB at most."""
_LONGEST = 255
"""A longer name is for the file system to refuse."""


def upper_lacks(directory: Directory, name: bytes) -> bool:
    """Whether the upper layer surely has nothing under a name, no whiteout either."""
    names = directory.upper_names
    return names is not None and name not in names and len(name) <= _LONGEST


def lowers_lack(directory: Directory, name: bytes) -> bool:
    """Whether surely no read-only layer has anything under a name."""
    names = directory.lower_names
    return names is not None and name not in names and len(name) <= _LONGEST


class NameCache:
    """The names known of the directories of one tree. When they are many, those known longest go."""

    def __init__(self, upper_fd: Callable[[Directory], int], lower_fd: Callable[[LowerDirectory], int]) -> None:
        """The two give a descriptor of a directory of the upper layer, and of a read-only one."""
        self._upper_fd = upper_fd
        self._lower_fd = lower_fd
        self._directories: OrderedDict[Directory, None] = OrderedDict()
        self._kept = 0

    def __len__(self) -> int:
        return self._kept

    def made(self, directory: Directory, name: bytes) -> None:
        """The upper layer has something under this name now, be it a whiteout."""
        names = directory.upper_names
        if names is not None and name not in names:
            names.add(name)
            self._kept += 1
            self._keep_few()

    def removed(self, directory: Directory, name: bytes) -> None:
        """The upper layer has nothing under this name any more, no whiteout either."""
        names = directory.upper_names
        if names is not None and name in names:
            names.remove(name)
            self._kept -= 1

    def made_empty(self, directory: Directory) -> None:
        """A directory was just made in the upper layer, with nothing in it."""
        directory.upper_names = set()
        self._directories[directory] = None

    def missed(self, directory: Directory) -> None:
        """A name was looked for in vain, by a system call for each layer."""
        directory.misses += 1
        if directory.misses < _MISSES:
            return
        directory.misses = 0
        with suppress(OSError):  # a plain user's daemon may search directories that it may not read
            if directory.lower_names is None:
                below = [_read(self._lower_fd(lower)) for lower in directory.lowers]
                directory.lower_names = frozenset().union(*below)
                self._kept += len(directory.lower_names)
            if directory.upper_names is None and directory.upper:
                directory.upper_names = set(_read(self._upper_fd(directory)))
                self._kept += len(directory.upper_names)
        self._directories[directory] = None
        self._keep_few()

    def forget(self, directory: Directory) -> None:
        """Know no more which names a directory has."""
        if directory in self._directories:
            del self._directories[directory]
            self._kept -= len(directory.upper_names or ()) + len(directory.lower_names or ())
            directory.upper_names = directory.lower_names = None

    def _keep_few(self) -> None:
        while self._kept > _NAMES_KEPT and self._directories:
            self.forget(next(iter(self._directories)))


def _read(fd: int) -> list[bytes]:
    listing_fd = open_listing(fd)
    try:
        return [name.encode(*FILE_SYSTEM_ENCODING) for name in os.listdir(listing_fd)]
    finally:
        os.close(listing_fd)
