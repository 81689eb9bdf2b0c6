"""Small things done to files, each with plain descriptors so that nothing is buffered or hidden."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def opened(path: bytes, flags: int = os.O_RDONLY, mode: int = 0o644) -> Iterator[int]:
    descriptor = os.open(path, flags, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read(path: bytes) -> bytes:
    with opened(path) as descriptor:
        return read_all(descriptor)


def read_all(descriptor: int) -> bytes:
    """The whole file from its start; the descriptor's position stays."""
    pieces = []
    position = 0
    while piece := os.pread(descriptor, 1 << 20, position):
        pieces.append(piece)
        position += len(piece)
    return b"".join(pieces)


def write(path: bytes, data: bytes, offset: int = 0) -> int:
    """Write into an existing file."""
    with opened(path, os.O_WRONLY) as descriptor:
        return os.pwrite(descriptor, data, offset)


def append(path: bytes, data: bytes) -> int:
    with opened(path, os.O_WRONLY | os.O_APPEND) as descriptor:
        return os.write(descriptor, data)


def create(path: bytes, data: bytes = b"", mode: int = 0o644) -> None:
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode) as descriptor:
        os.write(descriptor, data)


def replace(path: bytes, data: bytes) -> None:
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
        os.write(descriptor, data)


def drop_pages(descriptor: int) -> None:
    """Let the kernel keep nothing of the file's content in memory: who reads it next waits for its disk."""
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def drop_pages_below(top: bytes) -> None:
    """Of all files of a tree; /proc/sys/vm/drop_caches would slow down all that runs on the machine."""
    for place, _, names in os.walk(top):
        for name in names:
            with opened(os.path.join(place, name)) as descriptor:
                drop_pages(descriptor)


def describe(path: bytes) -> tuple[object, ...]:
    """What lstat tells that does not depend on the file system: type, mode, owner, device, links and size of files."""
    return describe_status(os.lstat(path))


def describe_status(status: os.stat_result) -> tuple[object, ...]:
    directory = stat.S_ISDIR(status.st_mode)
    return (
        oct(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_rdev,
        None if directory else status.st_nlink,
        None if directory else status.st_size,
    )


def identity(path: bytes) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def error_of(call: Callable[[], object]) -> str:
    """The name of the error that `call` raises; "" when it raises none."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""
