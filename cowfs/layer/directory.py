"""A layer on disk: the directory that keeps what a session wrote.

LAYER/upper        the changes, in kernel overlayfs's format (union/whiteout.py)
LAYER/work         where copy-up builds, open unlinked files and the hard-link index (union/layer.py)
LAYER/layer.json   format version, forms of marks and whiteouts, the bases and their identity, if it was ended cleanly

A temporary layer is such a directory under TMPDIR or /var/tmp, gone after unmount. One that a killed daemon left behind
is removed when the same user next makes one. Who mounts a layer holds a lock on its upper directory: exclusive to
write, shared to read, gone with the process, the same in every namespace.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from cowfs.layer.lock import hold_base, lock_layer
from cowfs.layer.metadata import (
    METADATA,
    METADATA_NEW,
    LayerError,
    Namespace,
    State,
    Whiteouts,
    find_base,
    is_layer,
    read_metadata,
    require_layer,
    type_of,
)
from cowfs.linux import AT_FDCWD
from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.whiteout import Marks, make_whiteout

_TEMPORARY = "cowfs-layer-"
_PROBE = "overlay.cowfs.probe"


_log = logging.getLogger("cowfs")


@dataclass(frozen=True)
class Upper:
    """Where a session writes: two directories, and the layer directory around them if there is one."""

    upper: Path
    work: Path
    directory: Path | None = None
    temporary: bool = False
    fresh: bool = False
    """Just made: its root has yet to look like the base's."""


def open_bases(paths: list[Path], *, mounted: Path | None = None) -> list[Layer]:
    """Open the read-only layers, topmost first; each is locked against being written or removed.

    `mounted`: the one that may be in use, since it is only looked at.
    """
    layers: list[Layer] = []
    with ExitStack() as undo:
        for position, path in zip(reversed(range(len(paths))), paths, strict=True):
            try:
                layer = _open_base(path, position, lock=path != mounted)
            except OSError as error:
                name = os.fsdecode(error.filename or b"")
                raise LayerError(f"Cannot open the base {name}: {error.strerror}.") from error
            undo.callback(layer.close)
            layers.append(layer)
        undo.pop_all()
    return layers


def _open_base(path: Path, position: int, *, lock: bool) -> Layer:
    place = find_base(path)
    if not is_layer(path):
        layer = Layer(os.fsencode(place), position)
        layer.lock_fd = hold_base(layer.root_fd)
        return layer
    by_attribute = read_metadata(path).whiteouts is Whiteouts.ATTRIBUTE
    links = path / "work" / "links"
    brings_index = type_of(links.parent) == type_of(links) == stat.S_IFDIR
    with ExitStack() as undo:
        lock_fd = None
        if lock:
            lock_fd = lock_layer(place, exclusive=False)
            undo.callback(os.close, lock_fd)
        index_path = os.fsencode(links) if brings_index else None
        layer = Layer(os.fsencode(place), position, index_path, attribute_whiteouts=by_attribute)
        layer.lock_fd = lock_fd
        undo.pop_all()
    return layer


def make_kept(path: Path) -> Upper:
    """The layer at `path`, made if there is none yet."""
    if path.exists() and not path.is_dir():
        raise LayerError(f"The layer {path} is not a directory.")
    fresh = not is_layer(path)
    if fresh and path.is_dir() and not _just_begun(path):
        raise LayerError(f"{path} is neither empty nor a cowfs layer (it has no {METADATA}): give another directory.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True, mode=0o700)
        _close(path, fresh=fresh)
        (path / "upper").mkdir(exist_ok=True)
        (path / "work").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise LayerError(f"Cannot make the layer {path}: {error.strerror}.") from error
    for part in ("upper", "work"):
        if type_of(path / part) != stat.S_IFDIR:
            raise LayerError(f"The layer {path} is damaged: {part} in it is not a directory.")
    return Upper(path / "upper", path / "work", path, fresh=fresh)


def _close(path: Path, *, fresh: bool) -> None:
    """Nobody else may run a setuid program that a session made. That a layer in use could be entered is said."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 == 0:
        return
    try:
        path.chmod(mode & 0o7700)
    except PermissionError:
        return  # not ours to close
    if not fresh:
        _log.warning("The layer %s was open to others, and is closed now (mode 0700).", path)


def _just_begun(path: Path) -> bool:
    """Whether a directory is empty, or what is left of a layer whose first daemon was killed before it mounted."""
    return {entry.name for entry in path.iterdir()} <= {"upper", "work", METADATA_NEW} and not any(path.glob("upper/*"))


def make_temporary() -> Upper:
    """A layer that `discard` removes, in a directory nobody else can enter."""
    parent = Path(os.environ.get("TMPDIR") or "/var/tmp")
    _remove_abandoned(parent)
    try:
        path = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
    except OSError as error:
        raise LayerError(f"Cannot make a temporary layer in {parent}: {error.strerror}. Set TMPDIR?") from error
    made = make_kept(path)
    return replace(made, temporary=True)


def open_upper(place: Upper, *, user_marks: bool) -> tuple[WritableLayer, Marks]:
    """Open a locked layer for writing and find out which marks it can hold; what a crash left in work/ is removed."""
    namespace = _namespace(place, user_marks=user_marks)
    try:
        by_attribute = not _holds_whiteout_device(place)
        writable = WritableLayer(os.fsencode(place.upper), os.fsencode(place.work), attribute_whiteouts=by_attribute)
    except OSError as error:
        reason = "they lie on different file systems" if error.errno == errno.EXDEV else error.strerror
        raise LayerError(f"Cannot use {place.upper} with the work directory {place.work}: {reason}.") from error
    return writable, Marks(namespace.encode())


def ended_cleanly(place: Upper) -> bool:
    """Whether the last session of a layer, if there was one, was not killed; False where nothing is recorded of it."""
    if place.fresh:
        return True
    return place.directory is not None and read_metadata(place.directory).state is State.CLEAN


def discard(place: Upper) -> None:
    """Remove a temporary layer, whatever modes the session gave to what it holds."""
    if place.temporary and place.directory is not None:
        remove_tree(place.directory)


def discard_kept(path: Path) -> None:
    """Remove a layer that nobody uses. LayerError."""
    require_layer(path)
    _remove_unused(path)


def _remove_unused(path: Path) -> None:
    fd = lock_layer(path / "upper", exclusive=True)
    try:
        remove_tree(path)
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a directory tree without following links, whatever modes and flags its files were given. LayerError."""
    # rm(1) goes as deep as a tree is, and is twice as quick as shutil. A mount helper may have no PATH.
    # What they say goes to a pipe: a small chroot may lack /dev/null.
    if subprocess.run(["/bin/rm", "-rf", "--", path], capture_output=True, check=False).returncode == 0:
        return
    for repair in (["/usr/bin/chattr", "-R", "-f", "-ia"], ["/bin/chmod", "-R", "u+rwx"]):
        with suppress(FileNotFoundError):
            subprocess.run([*repair, "--", path], capture_output=True, check=False)
    done = subprocess.run(["/bin/rm", "-rf", "--", path], capture_output=True, check=False)
    if done.returncode != 0:
        raise LayerError(f"Cannot remove the layer {path}: {done.stderr.decode(errors='replace').strip()}")


def _remove_abandoned(parent: Path) -> None:
    """Remove temporary layers of this user whose daemon was killed."""
    with suppress(OSError):
        for path in parent.glob(_TEMPORARY + "*"):
            with suppress(OSError, LayerError):
                if path.lstat().st_uid == os.geteuid() and is_layer(path):
                    _remove_unused(path)


def _namespace(place: Upper, *, user_marks: bool) -> Namespace:
    """The name space for the marks: TRUSTED where the daemon may write it, else USER. LayerError."""
    recorded = None
    if place.directory is not None and (place.directory / METADATA).exists():
        recorded = read_metadata(place.directory).marks
    may_trust = not user_marks and _can_mark(place.work, Namespace.TRUSTED)
    if recorded is Namespace.TRUSTED and not may_trust:
        raise LayerError(f"The layer {place.directory} was made by root with trusted marks: mount it as root.")
    # Not that of upper/, which is the owner of the base's root.
    owner = place.directory.lstat().st_uid if place.directory is not None else os.geteuid()
    if recorded is Namespace.USER and may_trust and owner != os.geteuid():
        raise LayerError(
            f"The layer {place.directory} belongs to user {owner}, who could have forged what it "
            "says about the base. Mount it as that user."
        )
    if recorded is not Namespace.USER and may_trust:
        return Namespace.TRUSTED
    if not _can_mark(place.work, Namespace.USER):
        raise LayerError(
            f"The file system of {place.work} keeps no extended attributes, which a layer needs. "
            "Put the layer on ext4, xfs, btrfs or a tmpfs of Linux 6.6 or later."
        )
    return Namespace.USER


def _holds_whiteout_device(place: Upper) -> bool:
    """Whether a whiteout can be a device here; in the mount of another union it cannot."""
    probe = os.fsencode(place.work / _PROBE)
    with suppress(FileNotFoundError):
        os.unlink(probe)
    try:
        make_whiteout(AT_FDCWD, probe)
    except PermissionError:
        return False
    os.unlink(probe)
    return True


def _can_mark(work: Path, namespace: Namespace) -> bool:
    try:
        os.setxattr(work, f"{namespace}.{_PROBE}", b"")
        os.removexattr(work, f"{namespace}.{_PROBE}")
    except OSError:
        return False
    return True
