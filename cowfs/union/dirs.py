"""mkdir and rmdir."""

from __future__ import annotations

import errno
import os
import stat

from cowfs.union.attrs import Attributes, Caller
from cowfs.union.entries import add_entry, remove_name
from cowfs.union.lookup import lookup
from cowfs.union.nodes import Directory, Node
from cowfs.union.readdir import is_empty
from cowfs.union.tree import Tree


def mkdir(tree: Tree, parent: Directory, name: bytes, mode: int, caller: Caller) -> tuple[Node, Attributes]:
    def make(dir_fd: int, place: bytes, permissions: int) -> None:
        os.mkdir(place, permissions & 0o777, dir_fd=dir_fd)

    return add_entry(tree, parent, name, stat.S_IFDIR | stat.S_IMODE(mode), caller, make)


def rmdir(tree: Tree, parent: Directory, name: bytes) -> None:
    """OSError ENOTEMPTY if anything shows in it; whiteouts alone do not count."""
    node = lookup(tree, parent, name)
    if not isinstance(node, Directory):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
    if not is_empty(tree, node):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), name)
    remove_name(tree, parent, name, node)
    tree.nodes.drop_unneeded(node)
