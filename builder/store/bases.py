"""Bases by name. Each name is a directory:

    NAME/tree.XXXXXXXX/      a base; never changed once it is here
    NAME/current             symbolic link to the one that sessions start from

Nobody else may enter NAME: a tree holds setuid programs, of whatever was installed or done in it.
Whoever uses a tree holds a shared lock on it. A new tree takes the link over in one step, so that builds on the old one
go on; the old one is removed by whoever finds it without a lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builder import private
from builder.debian import base_facts
from builder.problems import Misuse, Problem
from builder.process import output
from builder.store import kept_sessions
from builder.store.places import Kind, held_alone, place_of, remove_unused

NAME = re.compile(r"[a-z0-9][A-Za-z0-9+._-]*")


def bases_directory() -> Path:
    """Where this user's bases are."""
    return place_of(Kind.DATA, "bases")


def names() -> list[str]:
    return sorted(path.parent.name for path in bases_directory().glob("*/current"))


def fitting(suite: str, architecture: str) -> list[str]:
    """The names of the bases of a suite and architecture."""
    found = []
    for name in names():
        with suppress(Problem):
            tree = find(name)
            if (base_facts.suite(tree), base_facts.architecture(tree)) == (suite, architecture):
                found.append(name)
    return found


def directory(name: str) -> Path:
    """The directory of a name, made where it is missing. Problem for a name that cannot be one."""
    if not NAME.fullmatch(name):
        raise Misuse(f"{name!r} cannot be the name of a base", "Letters, digits and + . _ - only.")
    private.make(bases_directory())
    return private.make(bases_directory() / name)


@contextmanager
def room_for(name: str) -> Iterator[Path]:
    """The directory of a name that is to get its first tree; where it gets none, nothing is left of it."""
    wanted = (bases_directory() / name, bases_directory(), bases_directory().parent)
    missing = [path for path in wanted if not path.exists()]
    try:
        yield directory(name)
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def make_once(name: str, make: Callable[[], int]) -> int:
    """Have `make` make a base, unless another build is making it: then that is waited for. The exit code."""
    while True:
        with room_for(name) as home:
            descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # The other one may have failed, and then it has removed what was locked.
                if home.exists() and os.path.samestat(os.fstat(descriptor), home.stat()):
                    return 0 if name in names() else make()
            finally:
                os.close(descriptor)


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
            if find(text) == tree and tree.exists() and os.path.samestat(os.fstat(descriptor), tree.stat()):
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


def put_at(at: Path, tree: Path) -> None:
    """Make `tree`, a finished base on the same file system, the base at a path where none is."""
    # Sessions make it what "/" has; see session.py.
    tree.chmod(0o700)
    tree.rename(at)


def publish_at(at: Path, tree: Path) -> None:
    """Put `tree`, a finished base on the same file system, in place of the base at a path, in one step.

    What was there stays beside it, hidden, while sessions use it; the next to be put there removes it.
    """
    # Its start would be felt by all who only look for a base.
    from cowfs import linux

    old = f".{at.name}.{secrets.token_hex(4)}"
    tree.chmod(stat.S_IMODE(at.stat().st_mode))
    tree.rename(at.with_name(old))
    parent = os.open(at.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        linux.rename(parent, os.fsencode(at.name), parent, os.fsencode(old), linux.RENAME_EXCHANGE)
    finally:
        os.close(parent)
    replaced = re.compile(rf"\.{re.escape(at.name)}\.[0-9a-f]{{8}}")
    for each in at.parent.iterdir():
        if replaced.fullmatch(each.name):
            remove_unused(each)


def home_of(name: str) -> Path:
    """The directory of a name, which may be all that is left of its base. Problem when there is none."""
    if not NAME.fullmatch(name) or not (bases_directory() / name).is_dir():
        if Path(name).is_dir():
            raise Problem(f"There is no base {name}, only a directory", f"cowbuild remove ./{name}")
        find(name)
    return bases_directory() / name


def name_of(tree: Path) -> str:
    """What its user calls a tree: its name, or its path where it has none."""
    return tree.parent.name if tree.parent.parent == bases_directory().resolve() else str(tree)


def is_replaced(tree: Path) -> bool:
    """Whether a base with a name has got a newer tree than this one."""
    home = tree.parent
    return home.parent == bases_directory().resolve() and (home / "current").resolve() != tree


def remove(name: str) -> None:
    """Forget a base. Problem when there is none, or when a session uses it."""
    home = home_of(name)
    with suppress(FileNotFoundError):
        (home / "current").unlink()
    _remove_unused(home)
    try:
        home.rmdir()
    except OSError:
        left = sorted(path.name for path in home.iterdir())
        if any(each.startswith("tree.") for each in left):
            hint = "Its files go with the next create or remove."
            raise Problem(f"Sessions still use the base {name}", hint) from None
        raise Problem(f"The base {name} is gone, but not what else is in {home}: {', '.join(left)}") from None


def removable(text: str) -> Path:
    """The base at a path, where it can be removed. Problem where it cannot, and where it is no base."""
    if Path(text).is_symlink():
        raise Problem(f"{text} is a symbolic link", "Give the directory itself.")
    path = Path(text).resolve()
    base_facts.architecture(path)
    base_facts.check_ours(path)
    if not os.access(path.parent, os.W_OK):
        raise Problem(f"The base {path} cannot be removed: {path.parent} may not be written to")
    # rm(1) would not stop at a bind mount of the same file system.
    mounts = json.loads(output(["findmnt", "--json", "--list", "--output", "target"]))["filesystems"]
    if points := [each["target"] for each in mounts if Path(each["target"]).is_relative_to(path)]:
        raise Problem(f"The base {path} cannot be removed: {points[0]} is a mount point", "Unmount it first.")
    if using := [each.name for each in kept_sessions.every() if os.path.realpath(each.base) == str(path)]:
        raise Problem(f"The kept session {using[0]} still uses the base {path}", f"cowbuild discard {using[0]}")
    return path


def remove_at(text: str, directory: Path) -> None:
    """Move the base at a path into the private `directory` beside it, with which it goes. Problem when it cannot be."""
    path = removable(text)
    with held_alone(path) as alone:
        if not alone:
            raise Problem(f"Sessions still use the base {path}")
        try:
            path.rename(directory / "removed")
        except OSError as error:
            raise Problem(f"The base {path} cannot be removed: {error.strerror}") from None


def _remove_unused(home: Path) -> None:
    current = home / "current"
    kept = {str(current.resolve())} if current.is_symlink() else set()
    kept |= {session.base for session in kept_sessions.every()}
    for tree in home.glob("tree.*"):
        if str(tree) not in kept:
            remove_unused(tree)
