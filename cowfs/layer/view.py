"""A layer that is only looked at: the tree it shows, and the tree below it, without a mount.

Both are trees of the union over read-only layers, so they show what a mount would show. What a tree has to write to
is an empty directory that goes with the view.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from cowfs.layer import lock
from cowfs.layer.directory import open_bases
from cowfs.layer.metadata import LayerError, State, identify_bases, read_metadata, require_layer
from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.lookup import lookup
from cowfs.union.nodes import Directory, Node
from cowfs.union.readdir import read_directory
from cowfs.union.tree import Tree
from cowfs.union.whiteout import Marks


class Views(NamedTuple):
    """The same file has the same node number in both."""

    merged: Tree
    below: Tree
    complete: bool
    """Every hard link of a changed file is in the layer, as after every clean end (union/complete.py)."""


@contextmanager
def open_views(directory: Path, *, mounted: bool = False) -> Iterator[Views]:
    """Open a layer and what it was made over. LayerError. `mounted`: also while it is."""
    directory = directory.resolve()
    require_layer(directory)
    # Trees are as deep as they like. The calls of Python functions take no C stack.
    sys.setrecursionlimit(1_000_000)
    info = read_metadata(directory)
    bases = [base.path for base in info.bases]
    identify_bases(directory, bases)
    marks = Marks(info.marks.encode())
    complete = info.state is State.CLEAN
    if not complete and not mounted:
        _refuse_incomplete(directory)
    with tempfile.TemporaryDirectory(prefix="cowfs-view-") as scratch, ExitStack() as undo:
        allowed = directory if mounted else None
        merged = _open(open_bases([directory, *bases], mounted=allowed), marks, Path(scratch, "merged"))
        undo.callback(merged.close)
        below = _open(open_bases(bases), marks, Path(scratch, "below"))
        undo.callback(below.close)
        below.numbers = merged.numbers
        yield Views(merged, below, complete)


def _refuse_incomplete(directory: Path) -> None:
    os.close(lock.lock_layer(directory / "upper", exclusive=True))  # says so if it is mounted
    raise LayerError(f"The last session of {directory} was killed. Mount the layer and unmount it: that repairs it.")


def _open(opened: list[Layer], marks: Marks, scratch: Path) -> Tree:
    for part in ("upper", "work"):
        (scratch / part).mkdir(parents=True)
    upper = WritableLayer(os.fsencode(scratch / "upper"), os.fsencode(scratch / "work"))
    return Tree(opened, upper, marks, below_only=True)


def node_at(tree: Tree, directory: Directory | None, name: bytes) -> Node | None:
    """What shows under a name, if anything does."""
    if directory is None:
        return None
    try:
        return lookup(tree, directory, name)
    except (FileNotFoundError, NotADirectoryError):  # the latter, and more, when a layer in use changes meanwhile
        return None


def names(tree: Tree, directory: Directory | None) -> list[bytes]:
    """What a directory lists, sorted."""
    if directory is None:
        return []
    return sorted(name for name, *_ in read_directory(tree, directory, 0) if name not in (b".", b".."))


def own_part(views: Views, directory: Directory) -> int | None:
    """A descriptor of what the layer itself has of a directory; None if it has nothing of it."""
    top = directory.lowers[0] if directory.lowers else None
    return views.merged.lower_fd(top) if top is not None and top.layer is views.merged.layers[0] else None


def has_part_below(views: Views, directory: Directory) -> bool:
    """Whether something of a directory shows from below the layer."""
    return any(part.layer is not views.merged.layers[0] for part in directory.lowers)
