"""Build trees that `cowbuild build --incremental` goes on in: the last one of each package, base and place.

    PLACE/KEY/tree/         all that was below the build path when the last build had succeeded
    PLACE/KEY/source/       the source package that it was of
    PLACE/KEY/tree.info     what it was made under, and of which .dsc

What a build wrote is hostile, so nobody else enters it. Whoever copies a tree holds a shared lock on its directory. A
new one appears whole, by a rename. Those longest unused go when all together are larger than allowed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from builder import private
from builder.log import timestamp
from builder.store import recorded
from builder.store.places import Kind, held_with_others, place_of, remove_unused

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


_FIELDS = {"package": str, "base": str, "conditions": str, "dsc": str, "made": float, "size": int}
_RECORD = recorded.RecordFormat(BuildTree, "tree.info", _FIELDS)


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
    with held_with_others(directory) as there:
        found = _RECORD.read(directory) if there else None
        if found is not None:
            _RECORD.note_use(directory)
        yield found


def keep(key: str, whole: Path, *, package: str, base: Path, conditions: str, dsc: str) -> None:
    """Keep `whole`, a directory on this file system that has all but the record, in place of an older one. OSError."""
    size = recorded.disk_usage(whole)
    _RECORD.write(BuildTree(package, str(base), conditions, dsc, time.time(), size, whole))
    # One that another build is copying stays, and that build will put its own in this place.
    if remove_unused(where() / key):
        whole.rename(where() / key)
    prune(DEFAULT_LIMIT)


def every() -> list[BuildTree]:
    """All trees, the one used last first."""
    return _RECORD.every(where())


def prune(limit: int) -> list[BuildTree]:
    """Remove those longest unused until all are within `limit` bytes; those in use stay. Returns the removed."""
    return recorded.prune(every(), limit)


def summary(trees: Sequence[BuildTree]) -> list[str]:
    """One line for each, for people."""
    return [
        f"{each.directory.name[:12]} {each.size // 1024**2:6} MiB, {timestamp(each.made)}, "
        f"build tree of {each.package} over {each.base}"
        for each in trees
    ]
