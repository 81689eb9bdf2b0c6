"""Reading and writing files below a root that may be hostile: no link in it is followed, no name leads out of it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from builder.interrupts import uninterrupted

CHUNK = 1024 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def directory(root: Path, path: str) -> Iterator[int]:
    """A descriptor of the directory `path`, with no leading slash, below `root`. OSError (ELOOP, ENOTDIR) at a link."""
    descriptor = -1
    try:
        with uninterrupted():
            descriptor = _open(root, path)
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _open(root: Path, path: str) -> int:
    descriptor = os.open(root, _DIRECTORY)
    for part in Path(path).parts:
        try:
            below = os.open(part, _DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def make_directory(root: Path, path: str, owner: tuple[int, int]) -> None:
    """Make `path` below the root for `owner` (uid, gid), and what is missing above it for root. OSError at a link."""
    parts = Path(path).parts
    for depth, part in enumerate(parts):
        with directory(root, "/".join(parts[:depth])) as above, suppress(FileExistsError):
            os.mkdir(part, dir_fd=above)
            # Whatever the caller's umask.
            os.chmod(part, 0o755, dir_fd=above)
    with directory(root, path) as made:
        os.fchown(made, *owner)


def names(directory_descriptor: int) -> list[str]:
    return sorted(os.listdir(directory_descriptor))


def is_file(directory_descriptor: int, name: str) -> bool:
    """Whether a name in the root is a regular file's, itself. OSError."""
    return stat.S_ISREG(os.stat(name, dir_fd=directory_descriptor, follow_symlinks=False).st_mode)


def copy_in(source: Path, directory_descriptor: int, name: str, owner: tuple[int, int] = (0, 0)) -> None:
    """Copy a file of ours into the root, where no such name may be yet, for `owner` (uid, gid). OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with (
        source.open("rb") as reader,
        open(os.open(name, flags, 0o644, dir_fd=directory_descriptor), "wb") as writer,
    ):
        if owner != (0, 0):
            os.fchown(writer.fileno(), *owner)
        while piece := reader.read(CHUNK):
            writer.write(piece)


def write(directory_descriptor: int, name: str, content: bytes, mode: int = 0o644) -> None:
    """Make a file in the root for root, by itself readable by all, where no such name may be yet. OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=directory_descriptor), "wb") as writer:
        # Whatever the caller's umask.
        os.fchmod(writer.fileno(), mode)
        writer.write(content)


def append(directory_descriptor: int, name: str, content: bytes) -> None:
    """Add to a regular file in the root, made where it is missing. OSError when it is anything else."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=directory_descriptor)
    with _reader_of(descriptor, name):
        os.write(descriptor, content)


def prepend(directory_descriptor: int, name: str, content: bytes, limit: int) -> None:
    """Put it before what a regular file in the root holds, `limit` bytes at most. It keeps mode and owner. OSError."""
    rest = read(directory_descriptor, name, limit)
    flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=directory_descriptor), "wb") as writer:
        writer.write(content + rest)


def read(directory_descriptor: int, name: str, limit: int) -> bytes:
    """What a regular file in the root holds. OSError when it is anything else, or holds more than `limit` bytes."""
    with _opened(directory_descriptor, name) as reader:
        content = reader.read(limit + 1)
    if len(content) > limit:
        raise OSError(f"{name} is larger than {limit} bytes")
    return content


def beginning(directory_descriptor: int, name: str) -> bytes:
    """The first bytes of a regular file in the root, enough to tell what it is. OSError when it is anything else."""
    with _opened(directory_descriptor, name) as reader:
        return reader.read(4096)


def checksum(directory_descriptor: int, name: str) -> str:
    """The SHA-256 of a regular file in the root. OSError when it is anything else."""
    with _opened(directory_descriptor, name) as reader:
        digest = hashlib.sha256()
        while piece := reader.read(CHUNK):
            digest.update(piece)
        return digest.hexdigest()


@contextmanager
def _opened(directory_descriptor: int, name: str) -> Iterator[BinaryIO]:
    # Without O_NONBLOCK, opening a FIFO would wait for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=directory_descriptor)
    except OSError as error:
        # ENXIO: a socket.
        reason = {errno.ELOOP: "a symbolic link", errno.ENXIO: "not a regular file"}.get(error.errno or 0)
        # Of the same class: callers tell what is missing from what is not theirs to touch.
        raise type(error)(f"{name} is {reason}" if reason else f"{name}: {error.strerror}") from None
    with _reader_of(descriptor, name) as reader:
        yield reader


def _reader_of(descriptor: int, name: str) -> BinaryIO:
    """OSError when it is anything but a regular file; then it is closed."""
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise OSError(f"{name} is {'a directory' if stat.S_ISDIR(kind) else 'not a regular file'}")
    return open(descriptor, "rb")


def copy_out(directory_descriptor: int, name: str, target: Path, limit: int) -> tuple[int, str]:
    """Copy a regular file out of the root to `target`, which must not exist; return its size and SHA-256.

    OSError when it is a link, anything but a regular file, or holds more than `limit` bytes.
    """
    with _opened(directory_descriptor, name) as reader:
        return _copy(reader, name, target, limit)


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryIO]:
    """A file of the user's, wherever links lead, opened for reading. OSError when it is anything but a regular one."""
    with _reader_of(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), path.name) as reader:
        yield reader


def copy_file(source: Path, target: Path, limit: int) -> tuple[int, str]:
    """As `copy_out`, of a file of the user's."""
    with regular_file(source) as reader:
        return _copy(reader, source.name, target, limit)


def _copy(reader: BinaryIO, name: str, target: Path, limit: int) -> tuple[int, str]:
    size = 0
    digest = hashlib.sha256()
    with target.open("xb") as writer:
        while piece := reader.read(CHUNK):
            size += len(piece)
            if size > limit:
                raise OSError(f"{name} is larger than {limit} bytes")
            digest.update(piece)
            writer.write(piece)
    return size, digest.hexdigest()
