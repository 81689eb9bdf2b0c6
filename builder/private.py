"""Directories that nobody else can enter: whoever reaches a tree runs its setuid programs with its maker's rights."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from builder.problems import Problem

OTHERS = 0o077


def make(path: Path) -> Path:
    """The directory, made where it is missing, closed where it was open to others. Problem where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = path.stat().st_uid
    except OSError as error:
        raise Problem(
            f"Cannot make the directory {error.filename}: {error.strerror}",
            "Set HOME, or XDG_DATA_HOME, XDG_CACHE_HOME and XDG_STATE_HOME, to a directory that may be written to.",
        ) from None
    if owner != os.geteuid():
        raise Problem(
            f"The directory {path} belongs to another user, who could enter the trees in it",
            "Give another one by XDG_DATA_HOME, XDG_CACHE_HOME or XDG_STATE_HOME.",
        )
    close([path])
    return path


def close(paths: Iterable[Path]) -> None:
    """Close those of the directories that are this user's and open to others, and say which."""
    for path in paths:
        try:
            status = path.stat()
            if status.st_uid != os.geteuid() or not _is_open(status):
                continue
            path.chmod(stat.S_IMODE(status.st_mode) & ~OTHERS)
        except OSError:
            continue
        print(f"cowbuild: the directory {path} was open to others, and is closed now (mode 0700)", file=sys.stderr)


def _is_open(status: os.stat_result) -> bool:
    return stat.S_ISDIR(status.st_mode) and status.st_mode & OTHERS != 0


def tell_of(tree: Path) -> None:
    """Say that others can enter a tree that is at a path of the user's: who else needs its mode is not known here."""
    # Any bit that lets somebody else through counts, whoever is in the group.
    way = [tree, *tree.resolve().parents]
    if all(directory.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for directory in way):
        print(
            f"cowbuild: others can enter the base {tree} and run its setuid programs with your rights; "
            f"chmod 700 {tree} closes it, and sessions look the same",
            file=sys.stderr,
        )


def check_only_root_writes(path: Path) -> None:
    """Problem where anybody but root could have written the file. What is in such a file is run: hooks, Perl."""
    real = path.resolve(strict=True)
    for each in dict.fromkeys([real, *real.parents, *path.absolute().parents]):
        status = each.stat()
        others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        in_turn = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid != 0 or (others and not in_turn):
            reason = f"{each} belongs to another user" if status.st_uid != 0 else f"others may write to {each}"
            repair = f"chown root {each}" if status.st_uid != 0 else f"chmod go-w {each}"
            raise Problem(f"Root does not read {path}: {reason}", f"{repair}    # or XDG_CONFIG_HOME=/root/.config")
