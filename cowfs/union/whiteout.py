"""The on-disk format of a layer: what kernel overlayfs writes into an upper directory, here and only here.

whiteout   a character device 0/0: the name is deleted, whatever lies below. Where the layer's file system refuses that
           device (it is a union's own mount): an empty file with `overlay.whiteout`, as overlayfs reads in lowers
opaque     extended attribute `overlay.opaque` = "y" on a directory: nothing below shows through
redirect   `overlay.redirect` on a directory: its lower content lies at "/another/path", or at a "name" beside it
metacopy   `overlay.metacopy`, overlayfs's with metacopy=on: only metadata was copied up; such a file cannot be read
origin     `overlay.cowfs.origin` on a copied-up file, ours: "device-inode" of the base file whose identity it keeps

The attributes are `trusted.overlay.*`, or `user.overlay.*` where the daemon may not write trusted ones (kernel
overlayfs: `-o userxattr`). Programs inside the mount may use these names, too, for a union in the union: theirs are
stored with one more "overlay.", as kernel overlayfs does (Documentation/filesystems/overlayfs.rst, Nesting).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from cowfs.union.layer import opened_up

_WHITEOUT_DEVICE = os.makedev(0, 0)


class DirectoryMarks(NamedTuple):
    opaque: bool
    redirect: bytes | None


NO_MARKS = DirectoryMarks(opaque=False, redirect=None)
_IN_NO_NAME = frozenset(b"/\0")
_SEALED = DirectoryMarks(opaque=True, redirect=None)


def is_whiteout(status: os.stat_result) -> bool:
    return status.st_rdev == _WHITEOUT_DEVICE and stat.S_ISCHR(status.st_mode)


def make_whiteout(dir_fd: int, name: bytes) -> None:
    """Create a whiteout. No privilege is needed for this one device, mknod(2) since Linux 5.8."""
    os.mknod(name, stat.S_IFCHR | 0o000, _WHITEOUT_DEVICE, dir_fd=dir_fd)


def attribute_path(dir_fd: int, name: bytes) -> bytes:
    """The path by which the path-only xattr calls reach `name` in an open directory; use them without following."""
    return b"/proc/self/fd/%d/%s" % (dir_fd, name)


class Marks:
    """Reads, writes and hides a layer's own extended attributes, in one of the two name spaces."""

    def __init__(self, namespace: bytes) -> None:
        """`namespace` is b"trusted" or b"user"."""
        self.namespace = namespace
        self.prefix = namespace + b".overlay."
        self._escaped = self.prefix + b"overlay."
        self._opaque = self.prefix + b"opaque"
        self._redirect = self.prefix + b"redirect"
        self._whiteout = self.prefix + b"whiteout"
        self._metacopy = self.prefix + b"metacopy"
        self._origin = self.prefix + b"cowfs.origin"

    def directory_marks(self, dir_fd: int, name: bytes, *, writable: bool) -> DirectoryMarks:
        """What a directory of a layer says of itself. A redirect that leads nowhere sane counts as opaque.

        `writable`: it is in the writable layer.
        """
        names = os.listxattr(attribute_path(dir_fd, name), follow_symlinks=False)
        if not names:
            return NO_MARKS
        opaque = redirect = None
        if os.fsdecode(self._opaque) in names:
            opaque = _get(dir_fd, name, self._opaque, writable=writable)
        if os.fsdecode(self._redirect) in names:
            redirect = _get(dir_fd, name, self._redirect, writable=writable)
            if redirect is not None and not _valid_redirect(redirect):
                return _SEALED
        return DirectoryMarks(opaque == b"y", redirect)

    def is_attribute_whiteout(self, dir_fd: int, name: bytes, status: os.stat_result) -> bool:
        """Whether this is the whiteout of a layer that cannot hold the device."""
        if status.st_size or not stat.S_ISREG(status.st_mode):
            return False
        return _get(dir_fd, name, self._whiteout, writable=False) is not None

    def make_attribute_whiteout(self, dir_fd: int, name: bytes) -> None:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=dir_fd))
        os.setxattr(attribute_path(dir_fd, name), self._whiteout, b"y", follow_symlinks=False)

    def set_opaque(self, dir_fd: int, name: bytes) -> None:
        _set_on_directory(dir_fd, name, self._opaque, b"y")

    def set_redirect(self, dir_fd: int, name: bytes, redirect: bytes) -> None:
        _set_on_directory(dir_fd, name, self._redirect, redirect)

    def origin(self, dir_fd: int, name: bytes, *, writable: bool) -> tuple[int, int] | None:
        """The `(slot, inode)` of the base file that this file was copied up from, if it says so.

        OSError EIO for a file of which overlayfs, with metacopy=on, copied up only the metadata.
        """
        names = os.listxattr(attribute_path(dir_fd, name), follow_symlinks=False)
        if not names:
            return None
        if os.fsdecode(self._metacopy) in names:
            raise OSError(errno.EIO, "overlayfs left the content of this file below (metacopy=on)", name)
        if os.fsdecode(self._origin) not in names:
            return None
        value = _get(dir_fd, name, self._origin, writable=writable)
        return None if value is None else parse_identity(value)

    def set_origin(self, file: int | bytes, identity: tuple[int, int]) -> None:
        """Record the origin of a descriptor's file, or of what is at a path itself.

        A file that can hold no such attribute (a device, rootless) goes without.
        """
        try:
            os.setxattr(file, self._origin, format_identity(identity), follow_symlinks=isinstance(file, int))
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.EACCES):
                raise

    def to_stored(self, name: bytes) -> bytes:
        """The name under which an attribute that a program in the mount calls `name` is stored."""
        if name.startswith(self.prefix):
            return self._escaped + name[len(self.prefix) :]
        return name

    def to_visible(self, stored: bytes) -> bytes | None:
        """The name under which programs in the mount see a stored attribute; None for the layer's own."""
        if stored.startswith(self._escaped):
            return self.prefix + stored[len(self._escaped) :]
        return None if stored.startswith(self.prefix) else stored


def format_identity(identity: tuple[int, int]) -> bytes:
    return b"%d-%d" % identity


def parse_identity(text: bytes) -> tuple[int, int] | None:
    """The inverse of format_identity; None for anything else, for a layer may hold anything."""
    slot, dash, inode = text.partition(b"-")
    if not (dash and slot.isdigit() and inode.isdigit() and len(text) < 40):
        return None
    return int(slot), int(inode)


def _valid_redirect(redirect: bytes) -> bool:
    components = redirect[1:].split(b"/") if redirect.startswith(b"/") else [redirect]
    return all(_may_be_name(part) for part in components)


def _may_be_name(part: bytes) -> bool:
    return 0 < len(part) <= 255 and part not in (b".", b"..") and not set(part) & _IN_NO_NAME


def _set_on_directory(dir_fd: int, name: bytes, attribute: bytes, value: bytes) -> None:
    """Set a mark; for one in the user name space the directory's mode has to allow it, xattr(7)."""
    path = attribute_path(dir_fd, name)
    try:
        os.setxattr(path, attribute, value, follow_symlinks=False)
    except PermissionError:
        with opened_up(dir_fd, name):
            os.setxattr(path, attribute, value, follow_symlinks=False)


def _get(dir_fd: int, name: bytes, attribute: bytes, *, writable: bool) -> bytes | None:
    """The value of a mark, None without one. PermissionError where a base's mode forbids to read it."""
    path = attribute_path(dir_fd, name)
    try:
        return os.getxattr(path, attribute, follow_symlinks=False)
    except PermissionError:
        if not writable:
            raise
        with opened_up(dir_fd, name):
            return os.getxattr(path, attribute, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise
