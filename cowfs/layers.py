"""A layer on disk: the directory that keeps what a session wrote.

LAYER/upper        the changes, in kernel overlayfs's format (union/whiteout.py)
LAYER/work         where copy-up builds, open unlinked files and the hard-link index (union/layer.py)
LAYER/layer.json   format version, forms of marks and whiteouts, the bases and their identity, if it was ended cleanly

A temporary layer is such a directory under TMPDIR or /var/tmp, gone after unmount. One that a killed daemon left behind
is removed when the same user next makes one. Who mounts a layer holds a lock on its upper directory: exclusive to
write, shared to read, gone with the process, the same in every namespace.
"""

import errno
import fcntl
import json
import os
import stat
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cowfs.linux import AT_FDCWD
from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.whiteout import Marks, make_whiteout

FORMAT = 1

_METADATA = "layer.json"
_METADATA_NEW = "layer.json.new"
_METADATA_LIMIT = 1 << 20
_TEMPORARY = "cowfs-layer-"
_LOCKED_WITHIN = 1.0
_PROBE = "overlay.cowfs.probe"


class LayerError(Exception):
    """A base or layer that cannot be used; the text is a sentence for the user."""


@dataclass(frozen=True)
class Upper:
    """Where a session writes: two directories, and the layer directory around them if there is one."""

    upper: Path
    work: Path
    directory: Path | None = None
    temporary: bool = False
    fresh: bool = False
    """Just made: its root has yet to look like the base's."""


def find_base(path: Path) -> Path:
    """The directory that a base's content lies in: ``upper`` for a layer, else the directory itself."""
    if not path.is_dir():
        problem = "is not a directory" if path.exists() else "does not exist"
        raise LayerError(f"The base {path} {problem}.")
    return path / "upper" if is_layer(path) else path


def is_layer(path: Path) -> bool:
    """Whether a directory is a layer. What is a symbolic link in it could lead anywhere, and is no part of it."""
    return _type(path / _METADATA) == stat.S_IFREG and _type(path / "upper") == stat.S_IFDIR


def require_layer(path: Path) -> None:
    """LayerError if a directory is no layer."""
    if not is_layer(path):
        raise LayerError(f"{path} is not a layer: it has no {_METADATA} with an upper directory beside it.")


def open_bases(paths: list[Path], *, mounted: Path | None = None) -> list[Layer]:
    """Open the read-only layers, topmost first; each is locked against being written or removed.

    ``mounted``: the one that may be in use, since it is only looked at.
    """
    layers: list[Layer] = []
    try:
        for index, path in enumerate(paths):
            links = path / "work" / "links"
            brings_index = is_layer(path) and _type(links.parent) == _type(links) == stat.S_IFDIR
            place = find_base(path)
            by_attribute = False
            if is_layer(path):
                by_attribute = read_metadata(path)["whiteouts"] == "attribute"
                if path != mounted:
                    lock(place, exclusive=False)
            else:
                _hold(place)
            position = len(paths) - 1 - index
            index_path = os.fsencode(links) if brings_index else None
            layers.append(Layer(os.fsencode(place), position, index_path, attribute_whiteouts=by_attribute))
    except OSError as error:
        for layer in layers:
            layer.close()
        raise LayerError(f"Cannot open the base {os.fsdecode(error.filename or b'')}: {error.strerror}.") from error
    return layers


def make_kept(path: Path) -> Upper:
    """The layer at ``path``, made if there is none yet."""
    if path.exists() and not path.is_dir():
        raise LayerError(f"The layer {path} is not a directory.")
    fresh = not is_layer(path)
    if fresh and path.is_dir() and not _just_begun(path):
        raise LayerError(f"{path} is neither empty nor a cowfs layer (it has no {_METADATA}): give another directory.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else may run a setuid program that a session made.
        path.mkdir(exist_ok=True, mode=0o700)
        (path / "upper").mkdir(exist_ok=True)
        (path / "work").mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise LayerError(f"Cannot make the layer {path}: {error.strerror}.") from error
    for part in ("upper", "work"):
        if _type(path / part) != stat.S_IFDIR:
            raise LayerError(f"The layer {path} is damaged: {part} in it is not a directory.")
    return Upper(path / "upper", path / "work", path, fresh=fresh)


def _just_begun(path: Path) -> bool:
    """Whether a directory is empty, or what is left of a layer whose first daemon was killed before it mounted."""
    return {entry.name for entry in path.iterdir()} <= {"upper", "work", _METADATA_NEW} and not any(
        path.glob("upper/*")
    )


def make_temporary() -> Upper:
    """A layer that ``discard`` removes, in a directory nobody else can enter."""
    parent = Path(os.environ.get("TMPDIR") or "/var/tmp")
    _remove_abandoned(parent)
    try:
        path = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
    except OSError as error:
        raise LayerError(f"Cannot make a temporary layer in {parent}: {error.strerror}. Set TMPDIR?") from error
    made = make_kept(path)
    return replace(made, temporary=True)


def lock(upper: Path, *, exclusive: bool, patience: float = _LOCKED_WITHIN) -> int:
    """Lock a layer for the life of the returned descriptor, flock(2). LayerError if somebody else has it.

    ``patience``: how many seconds to wait for it.
    """
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    give_up = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            # umount(8) returns before the daemon has put the layer away: that is worth a moment.
            if time.monotonic() < give_up:
                time.sleep(0.01)
                continue
        os.close(fd)
        use = "mounted already, or in use as a base" if exclusive else "mounted for writing"
        raise LayerError(f"The layer {upper} is {use}. Unmount it first.")


def _hold(base: Path) -> None:
    """Tell whoever would replace or remove a base that it is in use; where flock(2) works, and nobody is at it."""
    with suppress(OSError):
        fcntl.flock(os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_SH | fcntl.LOCK_NB)


def share(fd: int) -> None:
    """Turn an exclusive lock into that of a layer which is only read."""
    fcntl.flock(fd, fcntl.LOCK_SH)


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


def identify(place: Upper, bases: list[Path]) -> list[dict[str, Any]]:
    """What a layer has to remember of its bases; LayerError if it was made over something else."""
    identities = [_identity(base) for base in bases]
    if place.directory is not None and (place.directory / _METADATA).exists():
        recorded = read_metadata(place.directory)["bases"]
        if [base["identity"] for base in recorded] != [base["identity"] for base in identities]:
            former = ":".join(str(base["path"]) for base in recorded)
            raise LayerError(
                f"The layer {place.directory} was made over {former}, not over {':'.join(map(str, bases))}: "
                "its changes would meet other files. Give the base it was made over, or another layer."
            )
    return identities


def base_problem(recorded: dict[str, str]) -> str:
    """Why a base is not what a layer was made over; "" if it is."""
    try:
        known = _identity(Path(recorded["path"]))["identity"] == recorded["identity"]
    except LayerError:
        return "missing"
    except OSError as error:
        return str(error.strerror)
    return "" if known else "another directory than the layer was made over"


def record(
    place: Upper, writable: WritableLayer, marks: Marks, identities: list[dict[str, Any]], state: str, *, durable: bool
) -> None:
    """Note in a layer what it is mounted over and how it is. Durable: so that a power cut leaves it readable."""
    if place.directory is None:
        return
    content = {
        "format": FORMAT,
        "marks": _name(marks),
        "whiteouts": "attribute" if writable.attribute_whiteouts else "device",
        "bases": identities,
        "state": state,
    }
    temporary = place.directory / _METADATA_NEW
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(place.directory / _METADATA)


def ended_cleanly(place: Upper) -> bool:
    """Whether the last session of a layer, if there was one, was not killed; False where nothing is recorded of it."""
    if place.fresh:
        return True
    return place.directory is not None and read_metadata(place.directory)["state"] == "clean"


def discard(place: Upper) -> None:
    """Remove a temporary layer, whatever modes the session gave to what it holds."""
    if place.temporary and place.directory is not None:
        remove_tree(place.directory)


def discard_kept(path: Path) -> None:
    """Remove a layer that nobody uses. LayerError."""
    require_layer(path)
    fd = lock(path / "upper", exclusive=True)
    try:
        remove_tree(path)
    finally:
        os.close(fd)


def remove_tree(path: Path) -> None:
    """Remove a directory tree without following links, whatever modes and flags its files were given. LayerError."""
    # rm(1) goes as deep as a tree is, and is twice as quick as shutil. A mount helper may have no PATH.
    if subprocess.run(["/bin/rm", "-rf", "--", path], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return
    for repair in (["/usr/bin/chattr", "-R", "-f", "-ia"], ["/bin/chmod", "-R", "u+rwx"]):
        with suppress(FileNotFoundError):
            subprocess.run([*repair, "--", path], stderr=subprocess.DEVNULL, check=False)
    done = subprocess.run(["/bin/rm", "-rf", "--", path], stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise LayerError(f"Cannot remove the layer {path}: {done.stderr.decode(errors='replace').strip()}")


def _remove_abandoned(parent: Path) -> None:
    """Remove temporary layers of this user whose daemon was killed."""
    with suppress(OSError):
        for path in parent.glob(_TEMPORARY + "*"):
            with suppress(OSError, LayerError):
                if path.lstat().st_uid == os.geteuid() and is_layer(path):
                    fd = lock(path / "upper", exclusive=True)
                    try:
                        remove_tree(path)
                    finally:
                        os.close(fd)


def _namespace(place: Upper, *, user_marks: bool) -> str:
    """The name space of extended attributes for the marks: "trusted" where the daemon may write it, else "user"."""
    recorded = None
    if place.directory is not None and (place.directory / _METADATA).exists():
        recorded = read_metadata(place.directory)["marks"]
    may_trust = not user_marks and _can_mark(place.work, "trusted")
    if recorded == "trusted" and not may_trust:
        raise LayerError(f"The layer {place.directory} was made by root with trusted marks: mount it as root.")
    # Not that of upper/, which is the owner of the base's root.
    owner = place.directory.lstat().st_uid if place.directory is not None else os.geteuid()
    if recorded == "user" and may_trust and owner != os.geteuid():
        raise LayerError(
            f"The layer {place.directory} belongs to user {owner}, who could have forged what it "
            "says about the base. Mount it as that user."
        )
    if recorded != "user" and may_trust:
        return "trusted"
    if not _can_mark(place.work, "user"):
        raise LayerError(
            f"The file system of {place.work} keeps no extended attributes, which a layer needs. "
            "Put the layer on ext4, xfs, btrfs or a tmpfs of Linux 6.6 or later."
        )
    return "user"


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


def _can_mark(work: Path, namespace: str) -> bool:
    try:
        os.setxattr(work, f"{namespace}.{_PROBE}", b"")
        os.removexattr(work, f"{namespace}.{_PROBE}")
    except OSError:
        return False
    return True


def _identity(base: Path) -> dict[str, Any]:
    """What tells a base from another: file system and inode of its directory. A renamed base stays itself."""
    place = find_base(base)
    return {"path": str(base), "identity": f"{os.statvfs(place).f_fsid:x}-{place.stat().st_ino}"}


def _name(marks: Marks) -> str:
    return marks.prefix.split(b".")[0].decode()


def _type(path: Path) -> int:
    """The stat.S_IFMT of what is at a path, links not followed; 0 if nothing is."""
    try:
        return stat.S_IFMT(path.lstat().st_mode)
    except OSError:
        return 0


def _read_regular_file(path: Path) -> bytes:
    """The beginning of a file, read without following a link, waiting, or (if it is ours) moving its access time."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        fd = os.open(path, flags)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return file.read(_METADATA_LIMIT)


def read_metadata(directory: Path) -> dict[str, Any]:
    """What a layer's layer.json says: bases, marks, whiteouts, state. LayerError."""
    path = directory / _METADATA
    try:
        content = json.loads(_read_regular_file(path))
        if isinstance(known := content["format"], int) and known > FORMAT:
            raise LayerError(f"{path} has layer format {known}; this cowfs knows format {FORMAT}. Use a newer cowfs.")
        if known != FORMAT:
            raise ValueError(f"format {known!r}")
        bases = [{"path": str(base["path"]), "identity": str(base["identity"])} for base in content["bases"]]
        marks = {"trusted": "trusted", "user": "user"}[content["marks"]]
        state = str(content["state"])
        whiteouts = {"device": "device", "attribute": "attribute"}[content["whiteouts"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LayerError(f"{path} is damaged ({error!r}): this is no layer that can be mounted.") from error
    return {"bases": bases, "marks": marks, "whiteouts": whiteouts, "state": state}
