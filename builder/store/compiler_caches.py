"""What compilers made, kept for other builds of this user: one directory for each program that keeps such things.

    PLACE/PROGRAM/          this user's, closed to others; whoever uses it holds a shared lock on it
    PLACE/PROGRAM/files/    the program's own: the builder's, in whose sessions it is bound

Whatever is in there was written by builds, and is believed by the next builds only.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from builder import hostile_tree, private
from builder.problems import Problem
from builder.store.places import Kind, held_with_others, place_of, remove_unused

DEFAULT_LIMIT = 5 * 1024**3
"""Bytes for each program, ccache's own default."""

FILES = "files"


class Kept(NamedTuple):
    program: str
    size: int


def where() -> Path:
    """Where this user's are, if there are any."""
    return place_of(Kind.CACHE, "compilers")


@contextmanager
def in_use(program: str, owner: tuple[int, int]) -> Iterator[Path]:
    """The directory of a program's files, `owner`'s (uid, gid), which stays as long as this lasts. Problem."""
    private.make(where())
    place = private.make(where() / program)
    try:
        with held_with_others(place):
            hostile_tree.make_directory(place, FILES, owner)
            yield place / FILES
    except PermissionError as error:
        hint = "Those of other subordinate ids: cowbuild cache prune"
        raise Problem(f"The files of {program} in {place} cannot be had: {error.strerror}", hint) from None


def size_of(program: str) -> int:
    """Bytes of disk that a program's files take, as far as they can be seen."""
    total, left = 0, [""]
    while left:
        inside = left.pop()
        # A build may be putting links in there meanwhile.
        with suppress(OSError), hostile_tree.directory(where() / program / FILES, inside) as place:
            for name in hostile_tree.names(place):
                with suppress(FileNotFoundError):  # another build's clean-up
                    status = os.stat(name, dir_fd=place, follow_symlinks=False)
                    total += status.st_blocks * 512
                    if stat.S_ISDIR(status.st_mode):
                        left.append(f"{inside}{name}/")
    return total


def every() -> list[Kept]:
    with suppress(OSError):
        return [Kept(name, size_of(name)) for name in sorted(os.listdir(where())) if not name.startswith("removed-")]
    return []


def prune(limit: int) -> list[Kept]:
    """Remove those larger than `limit` bytes that no build uses. The removed."""
    return [each for each in every() if each.size > limit and remove_unused(where() / each.program)]


def summary(kept: Kept) -> str:
    """One line, for people."""
    return f"{kept.program}: {kept.size // 1024**2} MiB of what compilers made"
