"""Directories that are a session's alone, since the base has nothing in them: plain ones of the disk, no union needed.

    DIRECTORY/layer/               what is written to the rest
    DIRECTORY/own/tmp/             is the session's /tmp
    DIRECTORY/own/PLACE/           is the build tree

They are bound into the session's root, so whoever looks at them through it, inside or outside, sees them. `own` has
their paths, and the modes and owners of what is above them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from builder import hostile_tree
from builder.problems import Problem
from cowfs import linux

NAME = "own"
TEMPORARY = "/tmp"

PLACE_ALLOWED = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9+._~-]{0,254})+")

# What the session's mount is, too: MOUNT_OPTIONS in session.py.
_FLAGS = linux.MS_BIND | linux.MS_NOSUID | linux.MS_NODEV


def may_be_place(path: str) -> bool:
    """Whether a build tree can be there."""
    return PLACE_ALLOWED.fullmatch(path) is not None and path.split("/")[1] not in ("dev", "proc", "sys")


def add(root: Path, own: Path, path: str) -> str:
    """Make an empty directory of a mounted `root` a plain one below `own`. Empty, or why it stays in the union.

    Problem where it cannot be made. No process of the session may run.
    """
    inside = path.lstrip("/")
    if (own / inside).is_dir():
        return ""
    if Path(path).is_relative_to(TEMPORARY) and path != TEMPORARY:
        # Of two mounts, one in the other, the outer would not be a base's directory.
        return "" if (own / TEMPORARY.lstrip("/")).is_dir() else f"{TEMPORARY} does"
    if os.statvfs(own.parent).f_flag & os.ST_NOEXEC:
        return f"nothing may be run on the disk of {own.parent}"
    try:
        with hostile_tree.directory(root, inside) as covered:
            if hostile_tree.names(covered):
                return "something is in it"
    except OSError:
        return "it is no directory"
    try:
        _make_like(root, own, inside)
        _bind(own, root, inside)
    except OSError as error:
        raise Problem(f"The session's {path} cannot be had: {error.strerror}") from None
    return ""


def bind_again(root: Path, own: Path, paths: Iterable[str]) -> None:
    """Bind what an earlier session had below `own`, by the paths of `kept`. Problem."""
    for path in paths:
        try:
            _bind(own, root, path)
        except OSError as error:
            raise Problem(f"The session's /{path} cannot be had: {error.strerror}") from None


def kept(own: Path, place: str) -> list[str]:
    """The paths, without leading slash, that a session had below `own`; its build tree was at `place`."""
    # One below /tmp is the build's to replace by a link, and comes with /tmp.
    plain = ".." not in Path(place).parts and not Path(place).is_relative_to(TEMPORARY)
    paths = [path.strip("/") for path in (TEMPORARY, *([place] if plain else []))]
    return [path for path in paths if (own / path).is_dir()]


def _make_like(root: Path, own: Path, path: str) -> None:
    """Make `path` below `own`, each directory of it with the owner, mode, times and attributes that root's has."""
    (own / path).mkdir(parents=True, exist_ok=True)
    for part in (path, *map(str, Path(path).parents)):
        with hostile_tree.directory(root, part) as like, hostile_tree.directory(own, part) as made:
            status = os.fstat(like)
            os.fchown(made, status.st_uid, status.st_gid)
            shutil.copystat(_name(like), _name(made))


def _bind(own: Path, root: Path, path: str) -> None:
    """OSError (ELOOP, ENOTDIR) at a link."""
    with hostile_tree.directory(own, path) as source:
        _bind_opened(source, root, path, _FLAGS)


def bind(directory: Path, root: Path, path: str) -> None:
    """Bind a directory of ours over one of a mounted `root`, for data: nothing in it can be run. OSError."""
    with hostile_tree.directory(directory, "") as source:
        _bind_opened(source, root, path, _FLAGS | linux.MS_NOEXEC)


def _bind_opened(source: int, root: Path, path: str, flags: int) -> None:
    with hostile_tree.directory(root, path) as target:
        linux.mount(_name(source), _name(target), b"", linux.MS_BIND, b"")
    # Opened anew, it is the mount. A bind mount takes flags only when it is there.
    with hostile_tree.directory(root, path) as mounted:
        linux.mount(b"none", _name(mounted), b"", linux.MS_REMOUNT | flags, b"")


def _name(descriptor: int) -> bytes:
    return b"/proc/self/fd/%d" % descriptor
