"""Where things of this user's are kept (XDG Base Directory Specification), and how one that nobody uses is removed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from builder.user_namespace import is_machine_root


class Kind(Enum):
    """Variable, root's place without it, everybody else's."""

    DATA = "XDG_DATA_HOME", "/var/lib", "~/.local/share"
    STATE = "XDG_STATE_HOME", "/var/lib", "~/.local/state"
    CACHE = "XDG_CACHE_HOME", "/var/cache", "~/.cache"
    CONFIGURATION = "XDG_CONFIG_HOME", "~/.config", "~/.config"


def place_of(kind: Kind, name: str) -> Path:
    """Where cowfs has something of this kind by that name."""
    variable, of_root, of_others = kind.value
    usual = of_root if is_machine_root() else of_others
    return Path(os.environ.get(variable) or os.path.expanduser(usual)) / "cowfs" / name


@contextmanager
def held_alone(directory: Path) -> Iterator[bool]:
    """Whether nobody uses a directory, and nobody can begin to while this lasts: users hold a shared lock on it."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


@contextmanager
def held_with_others(directory: Path) -> Iterator[bool]:
    """Whether there is such a directory, which then stays as long as this lasts: it has a shared lock."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield True
    finally:
        os.close(descriptor)


def remove_unused(directory: Path) -> bool:
    """Remove a directory that nobody uses; whether it is gone."""
    with held_alone(directory) as alone:
        if alone and directory.exists():
            # Out of sight first: what is half removed is nobody's.
            gone = directory.with_name(f"removed-{os.urandom(4).hex()}")
            directory.rename(gone)
            shutil.rmtree(gone)
    return alone
