"""Copying what a file has: content, holes, owner, mode, times and attributes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import partial

from cowfs import linux
from cowfs.union.file_calls import Place
from cowfs.union.tree import Tree
from cowfs.union.whiteout import attribute_path

_CHUNK = 1 << 20


_NO_COPY_RANGE = (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBADF, errno.ETXTBSY)


_NO_CLONING = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS)


_NO_XATTRS = (errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.ENODATA)
_NOT_OURS_TO_GIVE = (errno.EPERM, errno.EINVAL, errno.EOVERFLOW)
"""What chown(2) says to a plain user; and to root of a user namespace, of ids that it does not map."""
_ACL = b"system.posix_acl_"
_NAMED_ENTRIES = (b"\x02\0", b"\x08\0")
"""ACL_USER and ACL_GROUP of linux/posix_acl.h."""


def copy_metadata(tree: Tree, source: Place, target: Place, status: os.stat_result) -> bool:
    """Give `target` the owner, attributes, mode and times of `source`, whose `status` is at hand.

    False if the owner is another then (`_copy_owner`).
    """
    dir_fd, name = target
    # In this order: chown clears setuid and capabilities, an ACL changes the mode.
    kept, mode = _copy_owner(lambda *ids: os.chown(name, *ids, dir_fd=dir_fd, follow_symlinks=False), status)
    copy_xattrs(tree, attribute_path(*source), attribute_path(*target))
    if not stat.S_ISLNK(status.st_mode):
        linux.chmod(dir_fd, name, stat.S_IMODE(mode))
    linux.set_times(dir_fd, name, status.st_atime_ns, status.st_mtime_ns)
    return kept


def copy_file_metadata(tree: Tree, source: int, target: int, status: os.stat_result) -> bool:
    """As `copy_metadata`, of a regular file, by descriptors: half as dear, and of most copies the larger part."""
    kept, mode = _copy_owner(partial(os.fchown, target), status)
    copy_xattrs(tree, source, target)
    os.fchmod(target, stat.S_IMODE(mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    return kept


def copy_xattrs(tree: Tree, source: int | bytes, target: int | bytes) -> None:
    """From descriptor to descriptor, or from path to path without following."""
    follow = isinstance(source, int)
    for name in map(os.fsencode, os.listxattr(source, follow_symlinks=follow)):
        if tree.marks.to_visible(name) is None:
            continue
        try:
            value = usable_value(name, os.getxattr(source, name, follow_symlinks=follow))
            os.setxattr(target, name, value, follow_symlinks=follow)
        except OSError as error:
            # What only a privileged daemon may set means nothing in the nosuid mount of one that is not.
            if error.errno not in _NO_XATTRS:
                raise


def copy_content(source: int, target: int, status: os.stat_result, size: int) -> None:
    """Copy the first `size` bytes of a file of this `status` into an empty one."""
    if status.st_blocks * 512 >= status.st_size:
        _copy_data(source, target, 0, size)
    else:
        _copy_sparse(source, target, size)


def _copy_sparse(source: int, target: int, size: int) -> None:
    """Copy the first `size` bytes, holes staying holes."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                break
            raise
        end = min(size, os.lseek(source, offset, os.SEEK_HOLE))
        _copy_data(source, target, offset, end)
        offset = end
    os.ftruncate(target, size)


def _copy_data(source: int, target: int, offset: int, end: int) -> None:
    while offset < end:
        copied = _copy_range(source, target, offset, end - offset)
        if not copied:  # the base was cut short beneath us
            return
        offset += copied


def _copy_range(source: int, target: int, offset: int, count: int) -> int:
    try:
        return os.copy_file_range(source, target, min(count, 1 << 30), offset, offset)
    except OSError as error:
        if error.errno not in _NO_COPY_RANGE:
            raise
    data = memoryview(os.pread(source, min(count, _CHUNK), offset))
    written = 0
    while written < len(data):
        written += os.pwrite(target, data[written:], offset + written)
    return written


def _copy_owner(chown: Callable[[int, int], None], status: os.stat_result) -> tuple[bool, int]:
    """Give a copy its owner and group, by `chown(uid, gid)`: whether it has them, and the st_mode that is right then.

    A daemon that may not give files away keeps the copy as its own, as cp(1) does. The set-user-ID or set-group-ID
    bit goes then: it would lend another's rights.
    """
    try:
        chown(status.st_uid, status.st_gid)
    except OSError as error:
        if error.errno not in _NOT_OURS_TO_GIVE:
            raise
    else:
        return True, status.st_mode
    mode = status.st_mode & ~stat.S_ISUID
    try:
        chown(-1, status.st_gid)
    except OSError as error:
        if error.errno not in _NOT_OURS_TO_GIVE:
            raise
        mode &= ~stat.S_ISGID
    return False, mode


def usable_value(name: bytes, value: bytes) -> bytes:
    """An attribute as a file of the base has it; an ACL without the ids that our user namespace does not map.

    The kernel gives them as -1, takes no ACL with such an id, and refuses all use of a file that has one.
    """
    if not name.startswith(_ACL):
        return value
    entries = (value[at : at + 8] for at in range(4, len(value), 8))
    kept = (entry for entry in entries if entry[:2] not in _NAMED_ENTRIES or entry[4:] != b"\xff" * 4)
    return value[:4] + b"".join(kept)
