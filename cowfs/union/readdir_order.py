"""Directories that are listed in an order that was asked for.

Each opening of a directory has its own list, made when it is read from the beginning: so the order holds for all
names, those added since the directory was last read included, and what others add or remove meanwhile moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from cowfs.union.nodes import Directory
from cowfs.union.readdir import Entry, read_directory
from cowfs.union.tree import Tree
from cowfs.union.variation import ReaddirOrder


class OrderedDirectories:
    """The open directories of a tree, by handle."""

    def __init__(self, tree: Tree, listed: ReaddirOrder) -> None:
        self._tree = tree
        self._listed = listed
        self._entries: dict[int, list[Entry]] = {}
        self._last_handle = 0

    def open(self) -> int:
        """A handle for one opening of any directory."""
        self._last_handle += 1
        self._entries[self._last_handle] = []
        return self._last_handle

    def close(self, handle: int) -> None:
        self._entries.pop(handle, None)

    def read(self, directory: Directory, handle: int, cookie: int) -> Iterator[Entry]:
        """The entries behind a cookie, which means something in this opening only; 0 reads the directory anew."""
        if not cookie:
            self._entries[handle] = self._arrange(directory)
        return islice(self._entries.get(handle, []), cookie, None)

    def _arrange(self, directory: Directory) -> list[Entry]:
        by_name = {name: (kind, number) for name, _, kind, number in read_directory(self._tree, directory, 0)}
        dots = [name for name in (b".", b"..") if name in by_name]
        names = self._listed.arranged([name for name in by_name if name not in dots])
        return [(name, behind, *by_name[name]) for behind, name in enumerate([*dots, *names], 1)]
