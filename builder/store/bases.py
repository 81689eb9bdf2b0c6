"""Bases by name. Each name is a directory:

    NAME/tree.XXXXXXXX/      a base; never changed once it is here
    NAME/current             symbolic link to the one that sessions start from

Whoever uses a tree holds a shared lock on it. A new tree takes the link over in one step, so that builds on the old one
go on; the old one is removed by whoever finds it without a lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.log import Misuse, place_for_ours
from builder.problems import Problem
from builder.store import kept_sessions
from builder.user_namespace import is_machine_root

NAME = re.compile(r"[a-z0-9][A-Za-z0-9+._-]*")


def bases_directory() -> Path:
    """Where this user's bases are."""
    usual = "/var/lib" if is_machine_root() else os.path.expanduser("~/.local/share")
    return Path(os.environ.get("XDG_DATA_HOME") or usual) / "cowfs/bases"


def names() -> list[str]:
    return sorted(path.parent.name for path in bases_directory().glob("*/current"))


def directory(name: str) -> Path:
    """The directory of a name, made where it is missing. Problem for a name that cannot be one."""
    if not NAME.fullmatch(name):
        raise Misuse(f"{name!r} cannot be the name of a base", "Letters, digits and + . _ - only.")
    path = bases_directory() / name
    with place_for_ours(path, "XDG_DATA_HOME"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def is_path(text: str) -> bool:
    """Whether the user means a directory: what has a slash, or is here and no base's name."""
    return "/" in text or (text != "" and text not in names() and Path(text).is_dir())


def find(text: str) -> Path:
    """The tree of a name, or the directory of that path. Problem when there is none."""
    if is_path(text):
        return Path(text).absolute()
    if not NAME.fullmatch(text) or not (bases_directory() / text / "current").exists():
        known = ", ".join(names()) or "none yet"
        raise Misuse(f"There is no base {text}", f"Bases: {known}. Make it: cowbuild create {text} --suite SUITE")
    return (bases_directory() / text / "current").resolve()


@contextmanager
def base_in_use(text: str) -> Iterator[Path]:
    """The tree as `find` gives it, which stays as long as this lasts. Problem when there is none."""
    while True:
        tree = find(text)
        try:
            descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Problem(f"Cannot use the base {tree}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            # It may have been replaced and removed just before it was locked.
            if find(text) == tree and tree.exists():
                yield tree
                return
        finally:
            os.close(descriptor)


def publish(name: str, tree: Path) -> None:
    """Make `tree`, a finished base on the same file system, the current one of `name`; remove old ones not in use."""
    home = directory(name)
    target = home / f"tree.{secrets.token_hex(4)}"
    tree.rename(target)
    link = home / f"current.{secrets.token_hex(4)}"
    link.symlink_to(target.name)
    link.rename(home / "current")
    _remove_unused(home)


def remove(name: str) -> None:
    """Forget a base. Problem when there is none, or when a session uses it."""
    find(name)
    home = bases_directory() / name
    with suppress(FileNotFoundError):
        (home / "current").unlink()
    _remove_unused(home)
    try:
        home.rmdir()
    except OSError:
        raise Problem(f"Sessions still use the base {name}", "Its files go with the next create or remove.") from None


def _remove_unused(home: Path) -> None:
    current = home / "current"
    kept = {str(current.resolve())} if current.is_symlink() else set()
    kept |= {session.base for session in kept_sessions.every()}
    for tree in home.glob("tree.*"):
        if str(tree) in kept:
            continue
        try:
            descriptor = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(tree)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
