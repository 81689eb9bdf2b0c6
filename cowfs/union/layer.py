"""One directory tree, opened by descriptor: read-only (a base) or writable (the session's layer).

This is the one place that opens a base. Where the kernel allows it the base is reached through a read-only bind
mount of our own, so that no later mistake could write to it; else every open here is O_RDONLY.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cowfs import linux

FILE_SYSTEM_ENCODING = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
"""As os.fsencode has it, for str.encode: where names come by the thousand."""

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Layer:
    """A read-only layer. `position` counts from the bottom: 0 is the lowest base, whatever is stacked on it."""

    def __init__(
        self, path: bytes, position: int, links: bytes | None = None, *, attribute_whiteouts: bool = False
    ) -> None:
        """Open `path`. A cowfs layer brings its hard-link index with it, and the form of its whiteouts."""
        self.path = path
        self.attribute_whiteouts = attribute_whiteouts
        self.position = position
        self.root_fd, self._protected = _open_base(path)
        self.links_fd: int | None = _open_base(links)[0] if links is not None else None
        self.device = os.fstat(self.root_fd).st_dev
        self.lock_fd: int | None = None
        """Tells others that the layer is in use; given back with it, so that whoever unmounts what it lies on, can."""

    def open_file(self, dir_fd: int, name: bytes) -> int:
        """Open a regular file for reading, without following a link and without touching its access time."""
        flags = os.O_RDONLY | _FILE
        if self._protected:
            return os.open(name, flags, dir_fd=dir_fd)
        try:
            return os.open(name, flags | os.O_NOATIME, dir_fd=dir_fd)
        except PermissionError:  # O_NOATIME is for the owner only, open(2)
            return os.open(name, flags, dir_fd=dir_fd)

    def close(self) -> None:
        for fd in (self.root_fd, self.links_fd, self.lock_fd):
            if fd is not None:
                os.close(fd)


class WritableLayer:
    """The upper layer and its work area.

    `work/staging` holds what is being built, `work/orphans` unlinked files that are still open and `work/links`
    the hard-link index. All of `work` lies on one file system with `upper`: a rename moves things atomically.
    """

    def __init__(self, upper: bytes, work: bytes, *, attribute_whiteouts: bool = False) -> None:
        self.attribute_whiteouts = attribute_whiteouts
        self.path = upper
        self.root_fd = os.open(upper, _DIRECTORY)
        self.work_fd = os.open(work, _DIRECTORY)
        self.device = os.fstat(self.root_fd).st_dev
        if os.fstat(self.work_fd).st_dev != self.device:
            raise OSError(errno.EXDEV, "upper and work directory must lie on one file system", upper)
        self.staging_fd = self._work_directory(b"staging")
        self.orphans_fd = self._work_directory(b"orphans")
        self.links_fd = self._work_directory(b"links")
        for leftover_fd in (self.staging_fd, self.orphans_fd):
            empty_directory(leftover_fd)
        self._staged = itertools.count(1)

    def _work_directory(self, name: bytes) -> int:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self.work_fd)
        return os.open(name, _DIRECTORY, dir_fd=self.work_fd)

    def orphans(self) -> int:
        """How many unlinked files are kept because the kernel still knows them."""
        return len(os.listdir(b"/proc/self/fd/%d" % self.orphans_fd))

    def staging_name(self) -> bytes:
        """A name that nothing in the staging directory has; threads may ask at the same time."""
        return b"%x" % next(self._staged)

    def open_file(self, dir_fd: int, name: bytes, more_flags: int = 0) -> tuple[int, bool]:
        """Open a regular file for reading and, if its inode flags let us, writing anywhere: `(fd, writable)`.

        A daemon without CAP_DAC_OVERRIDE may own a file whose mode shuts it out; callers had it open before that.
        """
        flags = os.O_RDWR | _FILE | more_flags
        try:
            return os.open(name, flags, dir_fd=dir_fd), True
        except PermissionError as refused:
            if refused.errno == errno.EPERM:
                return _open_restricted(dir_fd, name), False
        with opened_up(dir_fd, name):
            return os.open(name, flags, dir_fd=dir_fd), True

    def close(self) -> None:
        for fd in (self.root_fd, self.work_fd, self.staging_fd, self.orphans_fd, self.links_fd):
            os.close(fd)


def _open_restricted(dir_fd: int, name: bytes) -> int:
    """Open an append-only file so that it can be appended to, or an immutable one for reading: ioctl_iflags(2)."""
    try:
        return os.open(name, os.O_RDWR | os.O_APPEND | _FILE, dir_fd=dir_fd)
    except PermissionError:
        return os.open(name, os.O_RDONLY | _FILE, dir_fd=dir_fd)


@contextmanager
def opened_up(dir_fd: int, name: bytes) -> Iterator[None]:
    """Give the owner all rights on an entry of the writable layer for a moment.

    A daemon without CAP_DAC_OVERRIDE has to do what the entry's mode denies to its owner, and so to the daemon.
    """
    mode = stat.S_IMODE(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode)
    linux.chmod(dir_fd, name, mode | stat.S_IRWXU)
    try:
        yield
    finally:
        linux.chmod(dir_fd, name, mode)


def open_directory(dir_fd: int, name: bytes) -> int:
    """An O_PATH descriptor of a directory, never through a symbolic link."""
    return os.open(name, _DIRECTORY, dir_fd=dir_fd)


def open_listing(dir_fd: int) -> int:
    """A descriptor by which a directory of a layer is read on our own account: its access time stays, if it may."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(b".", flags | os.O_NOATIME, dir_fd=dir_fd)
    except PermissionError as refused:
        if refused.errno != errno.EPERM:
            raise
    return os.open(b".", flags, dir_fd=dir_fd)  # O_NOATIME is for the owner only, open(2)


def empty_directory(dir_fd: int) -> None:
    """Remove all that a directory of ours holds; symbolic links are removed, not followed."""
    with os.scandir(b"/proc/self/fd/%d" % dir_fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if is_directory:
            shutil.rmtree(name, dir_fd=dir_fd)
        else:
            os.unlink(name, dir_fd=dir_fd)


def _open_base(path: bytes) -> tuple[int, bool]:
    try:
        return linux.open_read_only_tree(path), True
    except OSError as error:
        # No CAP_SYS_ADMIN, no such call, or a mount below the base that a user namespace may not uncover (EINVAL).
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
            raise
    return os.open(path, _DIRECTORY), False
