"""What was once fetched from a snapshot service, which knows files by their SHA-1 only.

PLACE/SHA1              the SHA-256 of that file, which is among the downloads by that name (downloads.py)
PLACE/SHA1.fetched      one that is being fetched; what there is of it, or was when it broke off: SHA1.fetched.partial
PLACE/lock              held by the one rebuild of this user that asks a service
"""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from builder import hostile_tree, private
from builder.debian.dsc import ListedFile
from builder.store import downloads
from builder.store.places import Kind, place_of

SHA1 = re.compile(r"[0-9a-f]{40}")
UNFINISHED = "*.fetched*"
ABANDONED_AFTER = 7 * 24 * 3600.0
"""Seconds after which nobody is taken to go on with what broke off."""


def where() -> Path:
    """Where this user's are, if there are any."""
    return place_of(Kind.CACHE, "snapshot")


def prune() -> None:
    """Remove what broke off, unless a rebuild is fetching just now, and what is known of files that are not kept."""
    with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError), (where() / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove_unfinished(where(), time.time())
        for record in where().iterdir():
            if SHA1.fullmatch(record.name) and not (downloads.where() / record.read_text()).is_file():
                record.unlink()


def _remove_unfinished(place: Path, before: float) -> None:
    for path in place.glob(UNFINISHED):
        if path.lstat().st_mtime <= before:
            path.unlink()


def kept_or_fetched(file: ListedFile, sha1: str, directory: Path, fetch: Callable[[Path], None]) -> Path:
    """A file of that name and size in `directory`, from the downloads, or by `fetch`, which brings it to a path.

    `file` has no SHA-256 yet. OSError, and what `fetch` raises.
    """
    place = private.make(where())
    target = directory / file.name
    with (place / "lock").open("w") as lock, hostile_tree.directory(directory, "") as opened:
        # One file after the other, of whatever rebuild: services limit how often they may be asked.
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            known = (place / sha1).read_text()
            if downloads.CHECKSUM.fullmatch(known):
                if downloads.put_in([ListedFile(file.name, file.size, known)], opened):
                    if _digest(target, "sha1") == sha1:
                        return target
                    target.unlink()
        _remove_unfinished(place, time.time() - ABANDONED_AFTER)
        fetched = place / f"{sha1}.fetched"
        fetch(fetched)
        # Not renamed: that may be another file system.
        shutil.copyfile(fetched, target)
        fetched.unlink()
        sha256 = _digest(target, "sha256")
        downloads.take_out([ListedFile(file.name, file.size, sha256)], opened)
        (place / sha1).write_text(sha256)
        return target


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
