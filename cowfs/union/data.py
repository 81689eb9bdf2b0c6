"""The content of files: read, write, allocate, seek, copy, sync; and their inode flags."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from cowfs import linux
from cowfs.union.attrs import Changer, drop_privileges
from cowfs.union.copyup import copy_up
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree
from cowfs.union.untouched import touched

# One copy_range copies no more than this, so that others get their turn; callers ask again for the rest.
_COPY_AT_ONCE = 16 << 20
_NO_COPY_RANGE = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)
# FALLOC_FL_PUNCH_HOLE and FALLOC_FL_COLLAPSE_RANGE of linux/falloc.h.
_FREES = 0x02 | 0x08
_MAY_NOT_NOWAIT = (errno.EOPNOTSUPP, errno.EINVAL)


def read(tree: Tree, node: Node, offset: int, size: int, *, at_once: memoryview | None = None) -> bytes | memoryview:
    """Up to `size` bytes; fewer only at the end of the file.

    `at_once`: room for so many bytes, of which what is returned may be a part, if no disk has to be waited for;
    BlockingIOError if one has.
    """
    fd = tree.file(node)
    if at_once is None or _device(tree, node) in tree.devices_without_nowait:
        return os.pread(fd, size, offset)
    try:
        count = os.preadv(fd, [at_once], offset, linux.RWF_NOWAIT)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _MAY_NOT_NOWAIT:
            raise
        tree.devices_without_nowait.add(_device(tree, node))
        return os.pread(fd, size, offset)
    if count < size and offset + count < os.fstat(fd).st_size:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return at_once[:count]


def borrow(tree: Tree, node: Node) -> int:
    """A descriptor of a file or directory for use in another thread; the taker closes it."""
    if isinstance(node, Directory):
        return _open_directory(tree, node)
    return os.dup(tree.file(node))


def write(tree: Tree, node: Node, offset: int, buffer: bytes | memoryview, unprivileged: Changer | None) -> int:
    """Write at an offset; the number of bytes written. A caller without CAP_FSETID costs the file its setuid bits.

    `unprivileged`: such a caller, here and below; None: one who has that.
    """
    try:
        fd = _open_to_change(tree, node, unprivileged)
    except PermissionError:
        return _append(tree, node, offset, buffer)
    if tree.quota is not None:
        tree.quota.take_range(node.number, fd, offset, len(buffer))
    return os.pwrite(fd, buffer, offset)


def fallocate(tree: Tree, node: Node, mode: int, offset: int, length: int, unprivileged: Changer | None = None) -> None:
    """fallocate(2), with the modes that the layer's file system has; else OSError EOPNOTSUPP."""
    fd = _open_to_change(tree, node, unprivileged)
    if tree.quota is not None:
        if mode & _FREES:
            tree.quota.note_freed(node.number)
        else:
            tree.quota.take_range(node.number, fd, offset, length)
    linux.fallocate(fd, mode, offset, length)


def seek(tree: Tree, node: Node, offset: int, whence: int) -> int:
    """lseek(2) with SEEK_DATA or SEEK_HOLE; OSError ENXIO behind the end."""
    return os.lseek(tree.file(node), offset, whence)


def copy_range(
    tree: Tree,
    source: Node,
    source_offset: int,
    target: Node,
    target_offset: int,
    length: int,
    unprivileged: Changer | None = None,
) -> int:
    """copy_file_range(2): may copy less than asked for; 0 at the end of the source."""
    target_fd = _open_to_change(tree, target, unprivileged)
    source_fd = tree.file(source)
    count = min(length, _COPY_AT_ONCE)
    if tree.quota is not None:
        count = min(count, max(0, os.fstat(source_fd).st_size - source_offset))
        tree.quota.take_range(target.number, target_fd, target_offset, count)
    try:
        return os.copy_file_range(source_fd, target_fd, count, source_offset, target_offset)
    except OSError as error:
        if error.errno not in _NO_COPY_RANGE:
            raise
    data = os.pread(source_fd, min(count, 1 << 20), source_offset)
    return os.pwrite(target_fd, data, target_offset)


def sync_all(tree: Tree) -> None:
    """syncfs(2) of the writable layer."""
    fd = _open_directory(tree, tree.root)
    try:
        linux.syncfs(fd)
    finally:
        os.close(fd)


def get_flags(tree: Tree, node: Node) -> int:
    """FS_IOC_GETFLAGS of ioctl_iflags(2); OSError ENOTTY where the file system or file type has none."""
    fd = _open_for_flags(tree, node)
    try:
        return linux.get_flags(fd)
    finally:
        os.close(fd)


def set_flags(tree: Tree, node: Node, flags: int) -> None:
    """FS_IOC_SETFLAGS of ioctl_iflags(2)."""
    _refuse_special(node)
    copy_up(tree, node)
    fd = _open_for_flags(tree, node)
    try:
        # The others, as "has extents", belong to the file system that the content was on before.
        kept = linux.get_flags(fd) & ~linux.FS_FL_USER_MODIFIABLE
        linux.set_flags(fd, kept | (flags & linux.FS_FL_USER_MODIFIABLE))
        tree.files.discard(node.number)  # it may have been opened for more than is allowed from now on
        touched(tree, node)
        tree.on_stale(node)  # its change time
    finally:
        os.close(fd)


def _append(tree: Tree, node: Node, offset: int, buffer: bytes | memoryview) -> int:
    """Write to a file that may not be written to anywhere: only at the end, and only if it is append-only."""
    fd = tree.file(node)
    if offset != os.fstat(fd).st_size or not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), node.name)
    if tree.quota is not None:
        tree.quota.take_range(node.number, fd, offset, len(buffer))
    return os.write(fd, buffer)


def _open_to_change(tree: Tree, node: Node, unprivileged: Changer | None) -> int:
    if not node.upper:
        copy_up(tree, node)
    fd = tree.file(node, writing=True)
    if unprivileged is not None:
        drop_privileges(tree, node, fd, unprivileged)
    return fd


def _device(tree: Tree, node: Node) -> int:
    if node.upper or node.lower_directory is None:
        return tree.upper.device
    return node.lower_directory.layer.device


def _open_directory(tree: Tree, directory: Directory) -> int:
    dir_fd, name = tree.locate(directory)
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)


def _open_for_flags(tree: Tree, node: Node) -> int:
    _refuse_special(node)
    return borrow(tree, node)


def _refuse_special(node: Node) -> None:
    """Opening a device or FIFO would be more than looking at its flags."""
    if node.type not in (stat.S_IFREG, stat.S_IFDIR):
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY), node.name)
