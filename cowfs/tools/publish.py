"""A tree is built beside its place and moved there whole."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cowfs import linux
from cowfs.layer import directory
from cowfs.layer.metadata import LayerError


@contextmanager
def built_beside(target: Path) -> Iterator[Path]:
    """A directory to build in, with `tree` and `links`, on the file system of `target`; it goes in any case."""
    try:
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    except OSError as error:
        raise LayerError(f"Cannot make {target}: {error.strerror}.") from error
    try:
        for part in ("tree", "links"):
            (stage / part).mkdir(mode=0o700)
        yield stage
    finally:
        directory.remove_tree(stage)


def move_into_place(stage: Path, target: Path) -> None:
    """Give what was built its name, unless something has it. LayerError."""
    old, new = os.fsencode(stage / "tree"), os.fsencode(target)
    try:
        linux.rename(linux.AT_FDCWD, old, linux.AT_FDCWD, new, linux.RENAME_NOREPLACE)
    except FileExistsError as error:
        raise _exists(target) from error


def tell_of_set_ids(tree: Path) -> None:
    """Say that others can enter a tree that has such programs; its root has the mode that programs in it are to see."""
    if all(each.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for each in (tree, *tree.resolve().parents)):
        told = f"others can enter {tree} and run its set-user-ID programs with your rights; chmod 700 {tree} closes it"
        print(f"cowfs: {told}", file=sys.stderr)


def require_free(target: Path) -> None:
    """LayerError if there is something already, before much work is done."""
    if os.path.lexists(target):
        raise _exists(target)


def _exists(target: Path) -> LayerError:
    return LayerError(f"{target} exists already: give a name that is free.")
