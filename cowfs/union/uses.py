"""What was used of a tree, and how: one record a path.

A record is made when a node is used in a way for the first time, so that what is used all the time costs one look
into a dictionary. A file with several names has the one by which it was first found.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from functools import partial

from cowfs.union.lookup import lower_entry
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree


class Use(IntFlag):
    LOOKED_UP = 1
    """Found by its name: what stat(2) needs, or a path that goes through it."""
    LISTED = 2
    FOLLOWED = 4
    """A symbolic link."""
    READ = 8
    """Opened for reading, also if it was empty."""
    EXECUTED = 16
    """Opened by execve(2): a program, a script, or the interpreter of one. A library is READ."""
    WRITTEN = 32
    """Content or attributes were changed."""
    CREATED = 64
    REMOVED = 128
    """The name was taken away, by a renaming too."""

    @property
    def word(self) -> str:
        return str(self.name).lower().replace("_", "-")


@dataclass(slots=True)
class Record:
    type: int  # stat.S_IFMT of the mode
    base: int | None
    """The read-only layer that shows the file, counted from the topmost; None for what was made in the mount."""
    size: int | None
    """Of a regular file of a base, in bytes."""
    uses: Use


class Uses:
    """The records of one tree, by path from its root."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._records: dict[bytes, Record] = {}
        self._seen: dict[int, int] = {}

    def take(self) -> dict[bytes, Record]:
        """What was recorded since the last time."""
        records, self._records = self._records, {}
        self._seen.clear()
        return records

    def note(self, node: Node, use: Use) -> None:
        known = self._seen.get(node.number, 0)
        if use & Use.CREATED:
            known = 0  # the number may have been a removed file's
        elif known & use == use or node.unlinked:
            return
        self._seen[node.number] = known | use
        self._add(*self._sighted(node, node.parent, node.name), use)

    def removing(self, node: Node, parent: Directory, name: bytes) -> Callable[[], None]:
        """To be called when the name is gone, which is when its path can no longer be told."""
        return partial(self._add, *self._sighted(node, parent, name), Use.REMOVED)

    def _add(self, path: bytes, record: Record, use: Use) -> None:
        self._records.setdefault(path, record).uses |= use

    def _sighted(self, node: Node, parent: Directory | None, name: bytes) -> tuple[bytes, Record]:
        if parent is None:
            return b"/", Record(node.type, 0, None, Use(0))
        base, size = self._origin(node, parent, name)
        return _path(parent) + name, Record(node.type, base, size, Use(0))

    def _origin(self, node: Node, parent: Directory, name: bytes) -> tuple[int | None, int | None]:
        """The layer and the size of what a base shows under a name, if that is the node."""
        entry = lower_entry(self._tree, parent.lowers, name)
        if entry is None:
            return None, None
        if node.upper and self._tree.numbers.number(entry.status.st_dev, entry.status.st_ino) != node.number:
            return None, None
        size = entry.status.st_size if stat.S_ISREG(entry.status.st_mode) else None
        return len(self._tree.layers) - 1 - entry.directory.layer.position, size


def _path(directory: Directory) -> bytes:
    """From the root, with a slash at the end."""
    parts: list[bytes] = [b""]
    current = directory
    while current.parent is not None:
        parts.append(current.name)
        current = current.parent
    return b"/" + b"/".join(reversed(parts))


def opened(flags: int) -> Use:
    """What an open(2) with these flags, as the kernel has them, is a use for."""
    if flags & _FMODE_EXEC:
        return Use.EXECUTED
    use = Use(0) if flags & os.O_ACCMODE == os.O_WRONLY else Use.READ
    return use | Use.WRITTEN if flags & os.O_TRUNC else use


_FMODE_EXEC = 0x20
"""linux/fs.h: FMODE_EXEC, which no program can give."""
