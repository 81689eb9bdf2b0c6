"""Dependency layers: what installing a set of build dependencies over a base wrote, frozen and kept for the next build.

    PLACE/KEY/layer/         a cowfs layer over the base; read-only from now on
    PLACE/KEY/layer.info     what it is for, when it was made (time of the file: when it was last used)

The key says all that decides what is in a layer: the base, what was asked of apt, and how. A layer is also right for
one state of the archives only, which nobody can know without asking them: so it has an age. Whoever uses one holds a
shared lock on its directory. A new one appears whole, by a rename; a build that made one somebody else has made
meanwhile drops its own. Those longest unused go when all together are larger than allowed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.log import place_for_ours, timestamp
from builder.user_namespace import is_machine_root

FORMAT = 1
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

    @property
    def layer(self) -> Path:
        return self.directory / "layer"


def layers_directory() -> Path:
    """Where this user's layers are; made where it is missing, closed to others: a layer may hold setuid programs."""
    cache = os.environ.get("XDG_CACHE_HOME") or ("/var/cache" if is_machine_root() else os.path.expanduser("~/.cache"))
    path = Path(cache) / "cowfs/dependencies"
    with place_for_ours(path, "XDG_CACHE_HOME"):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def key_of(base: Path, *parts: str) -> str:
    """The key for a base and whatever else decides. A base that was changed by hand has another one."""
    status = (base / "var/lib/dpkg/status").stat()
    identity = (str(base), base.stat().st_dev, base.stat().st_ino, status.st_mtime_ns, status.st_size)
    return hashlib.sha256(json.dumps([FORMAT, identity, parts]).encode()).hexdigest()[:32]


@contextmanager
def layer_in_use(key: str, age: float) -> Iterator[DependencyLayer | None]:
    """The layer of a key, not older than `age` seconds, which stays as long as this lasts; None when there is none."""
    directory = layers_directory() / key
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        all_layers = _read(directory)
        if all_layers is None or time.time() - all_layers.made > age:
            yield None
            return
        with suppress(OSError):
            os.utime(directory / INFO)
        yield all_layers
    finally:
        os.close(descriptor)


@contextmanager
def published_layer(key: str, layer: Path, *, package: str, base: Path) -> Iterator[Path]:
    """Keep a finished layer, which is in a directory of its own on this file system; yields where it now is.

    It stays there as long as this lasts. An older one of the key goes.
    """
    size = int(subprocess.check_output(["du", "-sk", layer], text=True).split()[0]) * 1024
    made = layer.parent / "finished"
    made.mkdir()
    layer.rename(made / "layer")
    all_layers = DependencyLayer(key=key, package=package, base=str(base), made=time.time(), size=size, directory=made)
    fields = {name: value for name, value in asdict(all_layers).items() if name not in ("directory", "used")}
    (made / INFO).write_text(json.dumps(fields, indent=1) + "\n")
    descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        target = layers_directory() / key
        _remove(target)
        try:
            made.rename(target)
        except OSError:
            # Another build was quicker, or uses the older one: then this one is kept for this build only.
            target = made
        yield target / "layer"
    finally:
        os.close(descriptor)


def all_layers() -> list[DependencyLayer]:
    """All layers, the one used last first."""
    found = [_read(path.parent) for path in layers_directory().glob(f"*/{INFO}")]
    return sorted((each for each in found if each is not None), key=lambda each: each.used, reverse=True)


def prune(limit: int) -> list[DependencyLayer]:
    """Remove the layers longest unused until all are within `limit` bytes; those in use stay. Returns the removed."""
    total = 0
    removed = []
    for each in all_layers():
        total += each.size
        if total > limit and _remove(each.directory):
            total -= each.size
            removed.append(each)
    return removed


def _read(directory: Path) -> DependencyLayer | None:
    try:
        info = directory / INFO
        fields = json.loads(info.read_text())
        return DependencyLayer(**fields, directory=directory, used=info.stat().st_mtime)
    except (OSError, ValueError, TypeError):
        return None


def _remove(directory: Path) -> bool:
    """Remove a layer that nobody uses; whether it is gone."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Out of sight first: what is half removed is nobody's layer.
        gone = directory.with_name(f"removed-{os.urandom(4).hex()}")
        directory.rename(gone)
        shutil.rmtree(gone)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def summary(layers: Sequence[DependencyLayer]) -> list[str]:
    """One line for each, for people."""
    return [
        f"{each.key[:12]} {each.size // 1024**2:6} MiB, {timestamp(each.made)}, for {each.package} over {each.base}"
        for each in layers
    ]
