"""Dependency layers: what installing a set of build dependencies over a base wrote, frozen and kept for the next build.

    PLACE/KEY/layer/         a cowfs layer over the base; read-only from now on
    PLACE/KEY/layer.info     what it is for, when it was made (time of the file: when it was last used)

The key says all that decides what is in a layer: the base, what was asked of apt, and how. A layer is also right for
one state of the archives only, which nobody can know without asking them: so it has an age. Whoever uses one holds a
shared lock on its directory. A new one appears whole, by a rename; a build that made one somebody else has made
meanwhile drops its own. Those of a base that was replaced or is gone go with it; those longest unused go when all
together are larger than allowed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from builder import private
from builder.log import timestamp
from builder.store import bases, recorded
from builder.store.places import Kind, held_with_others, place_of, remove_unused

FORMAT = 2
INFO = "layer.info"

DEFAULT_LIMIT = 10 * 1024**3
"""Bytes for all layers together."""

DEFAULT_AGE = 3600.0
"""Seconds for which the archives are taken to be as they were."""


@dataclass(frozen=True)
class DependencyLayer:
    """One layer, as `cowbuild cache list` shows it."""

    key: str
    package: str
    base: str
    made: float
    size: int
    directory: Path
    used: float = 0.0
    state: str = ""
    """Of the base, as `state_of` says it. Older cowbuilds did not write it down."""

    @property
    def layer(self) -> Path:
        return self.directory / "layer"


_FIELDS = {"key": str, "package": str, "base": str, "made": float, "size": int, "state": str}
_RECORD = recorded.RecordFormat(DependencyLayer, INFO, _FIELDS)


def where() -> Path:
    """Where this user's layers are, if there are any."""
    return place_of(Kind.CACHE, "dependencies")


def layers_directory() -> Path:
    """The directory of these layers, made where it is missing, closed to others: they may hold setuid programs."""
    return private.make(where())


def key_of(base: Path, *parts: str) -> str:
    """The key for a base and whatever else decides."""
    identity = (str(base), state_of(base))
    return hashlib.sha256(json.dumps([FORMAT, identity, parts]).encode()).hexdigest()[:32]


def state_of(base: Path) -> str:
    """What tells a base from one made anew in its place, or changed by hand. OSError where there is no directory."""
    tree = base.stat()
    state = f"{tree.st_dev}:{tree.st_ino}"
    with suppress(FileNotFoundError):
        status = (base / "var/lib/dpkg/status").lstat()
        state += f" {status.st_mtime_ns} {status.st_size}"
    return state


@contextmanager
def layer_in_use(key: str, age: float) -> Iterator[DependencyLayer | None]:
    """The layer of a key, not older than `age` seconds, which stays as long as this lasts; None when there is none."""
    directory = layers_directory() / key
    with held_with_others(directory) as there:
        layer = _RECORD.read(directory) if there else None
        if layer is None or time.time() - layer.made > age:
            yield None
            return
        _RECORD.note_use(directory)
        yield layer


@contextmanager
def published_layer(key: str, layer: Path, *, package: str, base: Path) -> Iterator[Path]:
    """Keep a finished layer, which is in a directory of its own on this file system; yields where it now is.

    It stays there as long as this lasts. An older one of the key goes.
    """
    size = recorded.disk_usage(layer)
    made = layer.parent / "finished"
    made.mkdir()
    layer.rename(made / "layer")
    published = DependencyLayer(
        key=key,
        package=package,
        base=str(base),
        made=time.time(),
        size=size,
        directory=made,
        state=state_of(base),
    )
    _RECORD.write(published)
    with held_with_others(made):
        target = layers_directory() / key
        remove_unused(target)
        try:
            made.rename(target)
        except OSError:
            # Another build was quicker, or uses the older one: then this one is kept for this build only.
            target = made
        yield target / "layer"


def all_layers() -> list[DependencyLayer]:
    """All layers, the one used last first."""
    # Who has never built has no place for them, and may be unable to make one.
    return _RECORD.every(where())


def remove_stale() -> list[DependencyLayer]:
    """Remove the layers whose base was replaced or is gone; those in use stay. Returns the removed.

    What cannot be read, as what an older cowbuild kept, goes too: nobody can use it.
    """
    for info in where().glob(f"*/{INFO}"):
        if _RECORD.read(info.parent) is None:
            remove_unused(info.parent)
    return [each for each in all_layers() if _is_stale(each) and remove_unused(each.directory)]


def _is_stale(layer: DependencyLayer) -> bool:
    base = Path(layer.base)
    try:
        return layer.state != state_of(base) or bases.is_replaced(base)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # who knows


def prune(limit: int) -> list[DependencyLayer]:
    """Remove the stale layers, and those longest unused until all are within `limit` bytes; those in use stay.

    Returns the removed.
    """
    return remove_stale() + recorded.prune(all_layers(), limit)


def summary(layers: Sequence[DependencyLayer]) -> list[str]:
    """One line for each, for people."""
    return [
        f"{each.key[:12]} {each.size // 1024**2:6} MiB, {timestamp(each.made)}, for {each.package} over {each.base}"
        for each in layers
    ]
