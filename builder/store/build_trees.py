"""Build trees that `cowbuild build --incremental` goes on in: the last one of each package, base and place.

    PLACE/KEY/tree/         all that was below the build path when the last build had succeeded
    PLACE/KEY/source/       the source package that it was of
    PLACE/KEY/tree.info     what it was made under, and of which .dsc

What a build wrote is hostile, so nobody else enters it. Whoever copies a tree holds a shared lock on its directory. A
new one appears whole, by a rename. Those longest unused go when all together are larger than allowed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from builder import private, records
from builder.log import timestamp
from builder.store.places import Kind, place_of, remove_unused

INFO = "tree.info"
FIELDS = {"package": str, "base": str, "conditions": str, "dsc": str, "made": float, "size": int}
"""Of INFO, as records.py has them."""

DEFAULT_LIMIT = 10 * 1024**3
"""Bytes for all together."""


@dataclass(frozen=True)
class BuildTree:
    package: str
    base: str
    conditions: str
    """A digest of what decides whether what was built can be gone on with."""
    dsc: str
    """The name of the file."""
    made: float
    size: int
    directory: Path
    used: float = 0.0

    @property
    def tree(self) -> Path:
        return self.directory / "tree"

    @property
    def source(self) -> Path:
        return self.directory / "source"


def where() -> Path:
    """Where this user's are, if there are any."""
    return place_of(Kind.CACHE, "trees")


def make_directory() -> Path:
    """The directory of these trees, made where it is missing, closed to others."""
    return private.make(where())


def key_of(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@contextmanager
def in_use(key: str) -> Iterator[BuildTree | None]:
    """The tree of a key, which stays as long as this lasts; None when there is none."""
    directory = where() / key
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        found = _read(directory)
        if found is not None:
            os.utime(directory / INFO)
        yield found
    finally:
        os.close(descriptor)


def keep(key: str, whole: Path, *, package: str, base: Path, conditions: str, dsc: str) -> None:
    """Keep `whole`, a directory on this file system that has all but INFO, in place of an older one. OSError."""
    size = int(subprocess.check_output(["du", "-sk", whole], text=True).split()[0]) * 1024
    kept = BuildTree(package, str(base), conditions, dsc, time.time(), size, whole)
    fields = {name: value for name, value in asdict(kept).items() if name in FIELDS}
    (whole / INFO).write_text(json.dumps(fields, indent=1) + "\n")
    # One that another build is copying stays, and that build will put its own in this place.
    if remove_unused(where() / key):
        whole.rename(where() / key)
    prune(DEFAULT_LIMIT)


def every() -> list[BuildTree]:
    """All trees, the one used last first."""
    found = [_read(path.parent) for path in where().glob(f"*/{INFO}")]
    return sorted((each for each in found if each is not None), key=lambda each: each.used, reverse=True)


def prune(limit: int) -> list[BuildTree]:
    """Remove those longest unused until all are within `limit` bytes; those in use stay. Returns the removed."""
    total, removed = 0, []
    for each in every():
        total += each.size
        if total > limit and remove_unused(each.directory):
            total -= each.size
            removed.append(each)
    return removed


def _read(directory: Path) -> BuildTree | None:
    fields = records.read(directory / INFO, FIELDS)
    if fields is None:
        return None
    with suppress(OSError):
        return BuildTree(**fields, directory=directory, used=(directory / INFO).stat().st_mtime)
    return None


def summary(trees: Sequence[BuildTree]) -> list[str]:
    """One line for each, for people."""
    return [
        f"{each.directory.name[:12]} {each.size // 1024**2:6} MiB, {timestamp(each.made)}, "
        f"build tree of {each.package} over {each.base}"
        for each in trees
    ]
