"""Negative name cache: a look-up of a name that is not there, and each new name, then costs no system call.

For a directory in which things were not found a few times the names in its layers are read once. Those of the
read-only layers never change; those of the upper layer are kept along, for which every name that is made there must be
told of by ``name_made``. A name too many costs the system call that it would have cost anyway.
"""

import os
from contextlib import suppress

from cowfs.union.layer import open_listing
from cowfs.union.nodes import Directory
from cowfs.union.tree import Tree

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


def name_made(tree: Tree, directory: Directory, name: bytes) -> None:
    """The upper layer has something under this name now, be it a whiteout."""
    names = directory.upper_names
    if names is not None and name not in names:
        names.add(name)
        tree.names_kept += 1
        _keep_few(tree)


def name_removed(tree: Tree, directory: Directory, name: bytes) -> None:
    """The upper layer has nothing under this name any more, no whiteout either."""
    names = directory.upper_names
    if names is not None and name in names:
        names.remove(name)
        tree.names_kept -= 1


def made_empty(tree: Tree, directory: Directory) -> None:
    """A directory was just made in the upper layer, with nothing in it."""
    directory.upper_names = set()
    tree.named_directories[directory] = None


def missed(tree: Tree, directory: Directory) -> None:
    """A name was looked for in vain, by a system call for each layer."""
    directory.misses += 1
    if directory.misses < _MISSES:
        return
    directory.misses = 0
    with suppress(OSError):  # a plain user's daemon may search directories that it may not read
        if directory.lower_names is None:
            below = [_read(tree.lower_fd(lower)) for lower in directory.lowers]
            directory.lower_names = frozenset().union(*below)
            tree.names_kept += len(directory.lower_names)
        if directory.upper_names is None and directory.upper:
            directory.upper_names = set(_read(tree.upper_fd(directory)))
            tree.names_kept += len(directory.upper_names)
    tree.named_directories[directory] = None
    _keep_few(tree)


def _read(fd: int) -> list[bytes]:
    listing_fd = open_listing(fd)
    try:
        return [os.fsencode(name) for name in os.listdir(listing_fd)]
    finally:
        os.close(listing_fd)


def _keep_few(tree: Tree) -> None:
    while tree.names_kept > _NAMES_KEPT and tree.named_directories:
        tree.forget_names(next(iter(tree.named_directories)))
