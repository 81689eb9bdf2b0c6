"""What stat(2) shows of a directory that was copied up, but in which nothing changed: what it showed before.

On an ordinary file system a change moves the times of one directory, never those of the directories above it, and tar
calls a file changed when its change time moved or its size grew while it read. But a copy has a change time and a size
of its own, and so has a directory that another one was copied into. Here the former ones are remembered until the next
change, as long as the mount lives. So every real change of a directory is told of, by `touched`.
"""

from __future__ import annotations

import os

from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree, Untouched


def keep(tree: Tree, directory: Directory, before: os.stat_result) -> Untouched:
    """Its content, which has or had the status `before`, gets another one, though nothing in it changes."""
    kept = Untouched(before.st_ctime_ns, before.st_size, before.st_blocks, before.st_mtime_ns)
    return tree.untouched.setdefault(directory.number, kept)


def touched(tree: Tree, node: Node) -> None:
    """A real change."""
    tree.untouched.pop(node.number, None)
