"""What stat(2) shows of a directory that was copied up, but in which nothing changed: what it showed before.

On an ordinary file system a change moves the times of one directory, never those of the directories above it, and tar
calls a file changed when its change time moved or its size grew while it read. But a copy has a change time and a size
of its own, and so has a directory that another one was copied into. Here the former ones are remembered until the next
change, as long as the mount lives.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree, Untouched


class Shown(NamedTuple):
    ctime_ns: int
    size: int
    blocks: int


def shown(tree: Tree, directory: Directory, status: os.stat_result) -> Shown:
    """What a directory shows, the `status` of whose content is at hand."""
    kept = tree.untouched.get(directory.number)
    if kept is None or kept.actual_ctime_ns != status.st_ctime_ns:
        return Shown(status.st_ctime_ns, status.st_size, status.st_blocks)
    return Shown(kept.ctime_ns, kept.size, kept.blocks)


def keep(tree: Tree, directory: Directory, before: os.stat_result, after: os.stat_result) -> None:
    """Its content had the status `before`, and has another one now, though nothing in it changed."""
    tree.untouched[directory.number] = Untouched(after.st_ctime_ns, *shown(tree, directory, before))


def touched(tree: Tree, node: Node) -> None:
    """A real change. Its time may be the very one of the copy-up before it: the clock of file times ticks slowly."""
    tree.untouched.pop(node.number, None)
