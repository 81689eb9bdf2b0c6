"""layer.json: what a layer directory says of itself."""

import errno
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cowfs.layer.directory import parse_json
from cowfs.union.layer import WritableLayer
from cowfs.union.whiteout import Marks

FORMAT = 1


METADATA = "layer.json"


METADATA_NEW = "layer.json.new"


_METADATA_LIMIT = 1 << 20


class LayerError(Exception):
    """A base or layer that cannot be used; the text is a sentence for the user.

    What it quotes may be of others' making: no terminal is to take it for commands.
    """

    def __init__(self, text: str) -> None:
        super().__init__("".join(each if each.isprintable() else ascii(each)[1:-1] for each in text))


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
    return type_of(path / METADATA) == stat.S_IFREG and type_of(path / "upper") == stat.S_IFDIR


def require_layer(path: Path) -> None:
    """LayerError if a directory is no layer."""
    if not is_layer(path):
        raise LayerError(f"{path} is not a layer: it has no {METADATA} with an upper directory beside it.")


def identify(place: Upper, bases: list[Path]) -> list[dict[str, Any]]:
    """What a layer has to remember of its bases; LayerError if it was made over something else."""
    identities = [_identity(base) for base in bases]
    if place.directory is not None and (place.directory / METADATA).exists():
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


def write_metadata(
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
    temporary = place.directory / METADATA_NEW
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(json.dumps(content, indent=1) + "\n")
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(place.directory / METADATA)


def ended_cleanly(place: Upper) -> bool:
    """Whether the last session of a layer, if there was one, was not killed; False where nothing is recorded of it."""
    if place.fresh:
        return True
    return place.directory is not None and read_metadata(place.directory)["state"] == "clean"


def _identity(base: Path) -> dict[str, Any]:
    """What tells a base from another: file system and inode of its directory. A renamed base stays itself."""
    place = find_base(base)
    return {"path": str(base), "identity": f"{os.statvfs(place).f_fsid:x}-{place.stat().st_ino}"}


def _name(marks: Marks) -> str:
    return marks.prefix.split(b".")[0].decode()


def type_of(path: Path) -> int:
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
    path = directory / METADATA
    try:
        content = parse_json(_read_regular_file(path))
        if isinstance(known := content["format"], int) and known > FORMAT:
            raise LayerError(f"{path} has layer format {known}; this cowfs knows format {FORMAT}. Use a newer cowfs.")
        if known != FORMAT:
            raise ValueError(f"format {known!r}")
        bases = [{"path": str(base["path"]), "identity": str(base["identity"])} for base in content["bases"]]
        if any(b"\0" in os.fsencode(base["path"]) for base in bases):
            raise ValueError("no path")
        marks = {"trusted": "trusted", "user": "user"}[content["marks"]]
        state = str(content["state"])
        whiteouts = {"device": "device", "attribute": "attribute"}[content["whiteouts"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LayerError(f"{path} is damaged ({error!r:.300}): this is no layer that can be mounted.") from error
    return {"bases": bases, "marks": marks, "whiteouts": whiteouts, "state": state}
