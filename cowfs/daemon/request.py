"""What the user asks to be mounted, and what cannot be."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cowfs.fuse.device import MountError, MountOptions, dead_mount
from cowfs.layer import metadata
from cowfs.layer.directory import Upper, make_kept, make_temporary
from cowfs.layer.metadata import LayerError
from cowfs.union.variation import NO_VARIATION, Variation


@dataclass
class MountRequest:
    """What the user asks for."""

    bases: list[Path]
    mountpoint: Path
    layer: Path | None = None
    """A layer directory to keep; with neither this nor `upper` the layer is temporary."""
    upper: Path | None = None
    work: Path | None = None
    user_marks: bool = False
    durable: bool = False
    quota: tuple[int | None, int | None] | None = None
    """Bytes and inodes."""
    engine: str = "direct"
    options: MountOptions = field(default_factory=MountOptions)
    staged: bool = True
    """As in `cowfs.fuse.device.mount`, where the engine can: each walk by ordinary users then takes a request less,
    and mount tables show the mount's root as /root."""
    debug: Callable[[str], None] | None = None
    variation: Variation = NO_VARIATION
    trace: Path | None = None
    """Where to write which files were used."""


def make_upper(request: MountRequest) -> Upper:
    if request.layer is not None:
        return make_kept(request.layer.absolute())
    if request.upper is None:
        return make_temporary()
    upper = request.upper.absolute()
    work = request.work.absolute() if request.work is not None else upper.with_name(f".{upper.name}.work")
    for path in (upper, work):
        if path.exists() and not path.is_dir():
            raise LayerError(f"{path} is not a directory.")
        try:
            # As in a layer; that of the upper directory is what the mount's root shows.
            path.mkdir(exist_ok=True, mode=0o700 if path == work else 0o777)
        except OSError as error:
            raise LayerError(f"Cannot make {path}: {error.strerror}.") from error
    return Upper(upper, work)


def refuse_overlap(request: MountRequest) -> None:
    """A layer inside its base would change the base; a base inside the layer would change beneath the mount."""
    mine = [path for path in (request.layer, request.upper, request.work) if path is not None]
    if request.trace is not None:
        for directory in (*request.bases, *mine, request.mountpoint):
            if _is_inside(request.trace.parent, directory):
                raise LayerError(f"The trace {request.trace} lies inside {directory}: put it elsewhere.")
    for base in request.bases:
        metadata.find_base(base)
        for path in mine:
            if _is_inside(path, base):
                raise LayerError(f"The layer {path} lies inside the base {base}: put it elsewhere.")
            if _is_inside(base, path):
                raise LayerError(f"The base {base} lies inside the layer {path}: put the layer elsewhere.")
    for path in mine:
        if _is_inside(request.mountpoint, path):
            raise LayerError(f"The mount point {request.mountpoint} lies inside the layer {path}.")
        if _is_inside(path, request.mountpoint):
            raise LayerError(f"The layer {path} lies inside the mount point {request.mountpoint}.")


def _is_inside(path: Path, directory: Path) -> bool:
    """Whether a path is a directory or something in it, by identity: bind mounts and links deceive names."""
    try:
        wanted = directory.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return directory.resolve() in (path.resolve(), *path.resolve().parents)
        if error.errno == errno.ENOTCONN:
            raise dead_mount(directory) from error
        raise MountError(error.errno, f"Cannot look at {directory}: {error.strerror}.") from error
    resolved = path.resolve()
    for candidate in (resolved, *resolved.parents):
        try:
            found = candidate.stat()
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False
