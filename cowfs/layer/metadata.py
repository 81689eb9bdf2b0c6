"""layer.json: what a layer directory says of itself, written and read here and only here.

It is JSON with `format`, `marks`, `whiteouts`, `state`, and for each of `bases`, topmost first, `path` and
`identity`. A new format gets a new number; older ones stay readable.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from cowfs.base_list import join_bases
from cowfs.untrusted_json import parse_json

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


class State(StrEnum):
    """How a layer's last session ended: MOUNTED means not yet, or that its daemon was killed."""

    MOUNTED = "mounted"
    CLEAN = "clean"


class Whiteouts(StrEnum):
    """How a layer says that a name is deleted (union/whiteout.py)."""

    DEVICE = "device"
    ATTRIBUTE = "attribute"


class Namespace(StrEnum):
    """The name space of the extended attributes that are a layer's marks."""

    TRUSTED = "trusted"
    USER = "user"


@dataclass(frozen=True)
class BaseIdentity:
    """A base as a layer remembers it."""

    path: Path
    identity: str
    """File system and inode of its directory: a renamed base stays itself."""


@dataclass(frozen=True)
class LayerInfo:
    """What layer.json holds."""

    bases: tuple[BaseIdentity, ...]
    """Topmost first."""
    marks: Namespace
    whiteouts: Whiteouts
    state: State

    def as_json(self) -> str:
        bases = [{"path": str(base.path), "identity": base.identity} for base in self.bases]
        fields = {
            "format": FORMAT,
            "marks": self.marks,
            "whiteouts": self.whiteouts,
            "bases": bases,
            "state": self.state,
        }
        return json.dumps(fields, indent=1) + "\n"


def find_base(path: Path) -> Path:
    """The directory that a base's content lies in: `upper` for a layer, else the directory itself."""
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


def identify(base: Path) -> BaseIdentity:
    """What tells a base from another. LayerError if there is none."""
    place = find_base(base)
    return BaseIdentity(base, f"{os.statvfs(place).f_fsid:x}-{place.stat().st_ino}")


def identify_bases(directory: Path | None, bases: list[Path]) -> tuple[BaseIdentity, ...]:
    """What a layer has to remember of its bases; LayerError if it was made over something else."""
    identities = tuple(identify(base) for base in bases)
    if directory is not None and (directory / METADATA).exists():
        recorded = read_metadata(directory).bases
        if [base.identity for base in recorded] != [base.identity for base in identities]:
            former = join_bases([base.path for base in recorded])
            raise LayerError(
                f"The layer {directory} was made over {former}, not over {join_bases(bases)}: "
                "its changes would meet other files. Give the base it was made over, or another layer."
            )
    return identities


def note_bases(directory: Path, bases: Mapping[Path, Path]) -> None:
    """Note that a closed layer lies over copies of what it was made over: where each is, and where it is going to be.

    LayerError.
    """
    identities = tuple(BaseIdentity(place, identify(copy).identity) for copy, place in bases.items())
    write_metadata(directory, replace(read_metadata(directory), bases=identities), durable=False)


def base_problem(recorded: BaseIdentity) -> str:
    """Why a base is not what a layer was made over; "" if it is."""
    try:
        known = identify(recorded.path).identity == recorded.identity
    except LayerError:
        return "missing"
    except OSError as error:
        return str(error.strerror)
    return "" if known else "another directory than the layer was made over"


def write_metadata(directory: Path, info: LayerInfo, *, durable: bool) -> None:
    """Note in a layer what it is mounted over and how it is. Durable: so that a power cut leaves it readable."""
    temporary = directory / METADATA_NEW
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(info.as_json())
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(directory / METADATA)


def read_metadata(directory: Path) -> LayerInfo:
    """What a layer's layer.json says. LayerError."""
    path = directory / METADATA
    try:
        content = parse_json(_read_regular_file(path))
        if isinstance(known := content["format"], int) and known > FORMAT:
            raise LayerError(f"{path} has layer format {known}; this cowfs knows format {FORMAT}. Use a newer cowfs.")
        if known != FORMAT:
            raise ValueError(f"format {known!r}")
        return LayerInfo(
            bases=tuple(BaseIdentity(_path(base["path"]), str(base["identity"])) for base in content["bases"]),
            marks=Namespace(content["marks"]),
            whiteouts=Whiteouts(content["whiteouts"]),
            # Whatever else it says: that is no clean end.
            state=State.CLEAN if content["state"] == State.CLEAN else State.MOUNTED,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LayerError(f"{path} is damaged ({error!r:.300}): this is no layer that can be mounted.") from error


def _path(text: object) -> Path:
    if b"\0" in os.fsencode(str(text)):
        raise ValueError("no path")
    return Path(str(text))


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
