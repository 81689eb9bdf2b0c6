"""What is kept in a directory of its own with a record of it: read, listed by use, removed where all are too large.

The time of the record's file is when it was last used. Who uses one holds a shared lock on its directory.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from builder import records
from builder.store.places import remove_unused


class Recorded(Protocol):
    @property
    def directory(self) -> Path: ...

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def used(self) -> float:
        """Seconds since 1970."""


Kept = TypeVar("Kept", bound=Recorded)


@dataclass(frozen=True)
class RecordFormat(Generic[Kept]):
    """How those of one kind are recorded."""

    make: Callable[..., Kept]
    """Of the fields, and `directory` and `used`."""
    info: str
    """The name of the record's file in the directory."""
    fields: Mapping[str, type]
    """Of the record, as records.py has them."""

    def write(self, kept: Kept) -> None:
        """Into its directory. OSError."""
        records.write(kept.directory / self.info, {name: getattr(kept, name) for name in self.fields})

    def read(self, directory: Path) -> Kept | None:
        fields = records.read(directory / self.info, self.fields)
        if fields is None:
            return None
        with suppress(OSError):
            return self.make(**fields, directory=directory, used=(directory / self.info).stat().st_mtime)
        return None

    def note_use(self, directory: Path) -> None:
        with suppress(OSError):
            os.utime(directory / self.info)

    def every(self, place: Path) -> list[Kept]:
        """All below a directory, which need not be there, the one used last first."""
        found = [self.read(path.parent) for path in place.glob(f"*/{self.info}")]
        return sorted((each for each in found if each is not None), key=lambda each: each.used, reverse=True)


def prune(kept: Iterable[Kept], limit: int) -> list[Kept]:
    """Of those, the one used last first, remove what is beyond `limit` bytes in all and not in use. The removed."""
    total, removed = 0, []
    for each in kept:
        total += each.size
        if total > limit and remove_unused(each.directory):
            total -= each.size
            removed.append(each)
    return removed


def disk_usage(directory: Path) -> int:
    """Bytes of disk that a tree takes. OSError, subprocess.CalledProcessError."""
    return 1024 * int(subprocess.check_output(["du", "-sk", directory]).split()[0])
