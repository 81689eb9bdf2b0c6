"""Downloaded packages, kept for other builds and bases: what one build has fetched, the next one need not.

    PLACE/SHA256        a .deb; the time of the file: when it was last used

A name is the checksum that apt's signed index gives the package. What a session's apt leaves is believed as little as
what lies here: it is kept under the checksum that it has, and given to a session only where it still has it. So builds
side by side need no lock: each file appears whole, by a rename, and who put it there does not matter. Those longest
unused go when all together are larger than allowed.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from builder import hostile_tree, private
from builder.debian.dsc import ListedFile
from builder.store.places import Kind, place_of

DEFAULT_LIMIT = 4 * 1024**3
"""Bytes for all packages together."""

UNFINISHED = ".unfinished-"
ABANDONED_AFTER = 3600.0
"""Seconds after which a file that never got its name is nobody's."""

CHECKSUM = re.compile(r"[0-9a-f]{64}")


class Kept(NamedTuple):
    path: Path
    size: int
    used: float


def where() -> Path:
    """Where this user's are, if there are any."""
    return place_of(Kind.CACHE, "packages")


def put_in(wanted: Iterable[ListedFile], archives: int) -> int:
    """Give a session those that are here: into the directory where its apt looks for them. How many they were. OSError.

    A file that is not what its name says is removed.
    """
    given = 0
    for each in wanted:
        path = where() / each.sha256
        with suppress(FileNotFoundError, FileExistsError):
            if path.stat().st_size == each.size and _copied(path, archives, each):
                os.utime(path)
                given += 1
            else:
                path.unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    os.unlink(each.name, dir_fd=archives)
    return given


def _copied(path: Path, archives: int, wanted: ListedFile) -> bool:
    """Copy a package; whether what was copied is what was wanted."""
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with (
        hostile_tree.regular_file(path) as reader,
        open(os.open(wanted.name, flags, 0o644, dir_fd=archives), "wb") as writer,
    ):
        while piece := reader.read(hostile_tree.CHUNK):
            digest.update(piece)
            writer.write(piece)
    return digest.hexdigest() == wanted.sha256


def take_out(wanted: Iterable[ListedFile], archives: int) -> int:
    """Keep what a session has of these; how many are new. What is not what it should be stays where it is. OSError."""
    place = private.make(where())
    taken = 0
    for each in wanted:
        if (place / each.sha256).exists():
            continue
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=place) as unfinished, suppress(OSError):
            copied = Path(unfinished) / "package"
            size, digest = hostile_tree.copy_out(archives, each.name, copied, each.size)
            if (size, digest) == (each.size, each.sha256):
                copied.rename(place / each.sha256)
                taken += 1
    return taken


def remove(names: Collection[str], archives: int) -> None:
    """Take packages out of a session, whose layer they would only make larger."""
    for name in names:
        with suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(name, dir_fd=archives)


def every() -> list[Kept]:
    """All that are here, the one used last first."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(where()):
            with suppress(FileNotFoundError):  # another build's prune
                if CHECKSUM.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    found.append(Kept(Path(entry.path), status.st_size, status.st_mtime))
    return sorted(found, key=lambda each: each.used, reverse=True)


def prune(limit: int) -> list[Kept]:
    """Remove those longest unused until all are within `limit` bytes, and what killed builds left. The removed.

    A build that reads one goes on reading it.
    """
    for left in where().glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            if time.time() - left.lstat().st_mtime > ABANDONED_AFTER:
                for file in left.iterdir():
                    file.unlink()
                left.rmdir()
    total, removed = 0, []
    for each in every():
        total += each.size
        if total > limit:
            with suppress(FileNotFoundError):
                each.path.unlink()
            total -= each.size
            removed.append(each)
    return removed


def summary(kept: Collection[Kept]) -> str:
    """One line, for people."""
    return f"{len(kept)} downloaded packages, {sum(each.size for each in kept) // 1024**2} MiB"
