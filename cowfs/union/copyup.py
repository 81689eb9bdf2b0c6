"""From a lower layer to the upper one, atomically: built in the staging directory, renamed into place when complete.

A crash leaves the old state or the new. What a parent directory shows, its times included, does not change.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from cowfs import linux
from cowfs.union.copying import _NO_CLONING, copy_content, copy_file_metadata, copy_metadata
from cowfs.union.hard_links import has_several_names, indexed, lower_identity, name_linked, names_below
from cowfs.union.layer import opened_up
from cowfs.union.lookup import find
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import SELF, Tree
from cowfs.union.untouched import keep
from cowfs.union.whiteout import attribute_path


class CopyUpNeeded(Exception):
    """More bytes have to be copied than may be while everybody waits; nothing was changed yet.

    Run `job = begin(tree, node)`, `job.copy()` elsewhere, `job.commit()`, and then the operation again.
    """

    def __init__(self, node: Node) -> None:
        super().__init__(node.name)
        self.node = node


class CopyUpJob:
    """The copy-up of one regular file in three steps, of which only `copy` takes time and may run in a thread."""

    def __init__(self, tree: Tree, node: Node, size: int | None = None) -> None:
        """`size`: how many bytes of the content are wanted, all by default."""
        self._tree = tree
        self._node = node
        self._source = tree.open_lower(node)
        self._staged = tree.upper.staging_name()
        self.status = os.fstat(self._source)
        self.size = self.status.st_size if size is None else min(size, self.status.st_size)
        try:
            _refuse_flags(self._source, node.name)
            if tree.quota is not None:
                tree.quota.take(min(self.size, self.status.st_blocks * 512), 1)
            self._target = _create_staged(tree, self._staged)
        except OSError:
            os.close(self._source)
            raise
        tree.copy_ups.begun()

    def clone(self) -> bool:
        """Share the content instead of copying it, where the file system can; whether it did."""
        if (
            self.size < self.status.st_size
            or not self.size
            or self.status.st_dev not in self._tree.copy_ups.cloning_devices
        ):
            return False
        try:
            linux.clone_file(self._target, self._source)
        except OSError as error:
            if error.errno in _NO_CLONING:
                self._tree.copy_ups.cloning_devices.discard(self.status.st_dev)
            return False
        return True

    def copy(self) -> None:
        copy_content(self._source, self._target, self.status, self.size)
        if self._tree.durable:
            os.fdatasync(self._target)

    def commit(self) -> None:
        """Put the finished copy in place, unless the node got there some other way meanwhile."""
        tree, node, status = self._tree, self._node, self.status
        if node.upper:
            self.abandon()
            return
        try:
            identity = lower_identity(tree, node, status)
            if identity is not None:
                tree.marks.set_origin(self._target, identity)
            kept = copy_file_metadata(tree, self._source, self._target, status)
            _place(tree, node, self._staged, status, identity)
        except OSError:
            self.abandon()
            raise
        if not kept:
            tree.on_stale(node)
        tree.copy_ups.ended()
        os.close(self._source)
        tree.files.put(node.number, self._target, writable=True)  # most are copied up to be written to

    def abandon(self) -> None:
        self._tree.copy_ups.ended()
        os.close(self._source)
        os.close(self._target)
        _drop_staged(self._tree, self._staged)


def refuse_immutable(tree: Tree, node: Node) -> None:
    """OSError EPERM if the base protects a file or directory with a flag of ioctl_iflags(2), as it would itself."""
    if node.upper or node.type not in (stat.S_IFREG, stat.S_IFDIR):
        return
    dir_fd, name = tree.locate(node)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except PermissionError:
        return
    try:
        _refuse_flags(fd, name)
    finally:
        os.close(fd)


def _refuse_flags(fd: int, name: bytes) -> None:
    try:
        flags = linux.get_flags(fd)
    except OSError:
        return  # a file system without such flags
    if flags & (linux.FS_IMMUTABLE_FL | linux.FS_APPEND_FL):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), name)


def begin(tree: Tree, node: Node) -> CopyUpJob:
    """Start the copy-up that CopyUpNeeded asked for."""
    return CopyUpJob(tree, node)


def copy_up(tree: Tree, node: Node, size: int | None = None) -> None:
    """Bring a node into the upper layer. `size`: a caller about to truncate wants no more bytes than that.

    CopyUpNeeded if it would copy more than `tree.copy_ups.inline_limit` bytes.
    """
    if node.upper:
        return
    if isinstance(node, Directory):
        _copy_up_directories(tree, node)
    elif node.type == stat.S_IFREG:
        _copy_up_file(tree, node, size)
    else:
        _copy_up_special(tree, node)


def copy_up_name(tree: Tree, node: Node, parent: Directory, name: bytes) -> None:
    """Bring a node into the upper layer by this very name: a hard link of the base may have got there by another."""
    copy_up(tree, parent)
    copy_up(tree, node)
    identity = indexed(tree, node)
    if identity is not None and node.sheltered_at is not None and not _exists(tree.upper_fd(parent), name):
        _link_name(tree, node.sheltered_at, identity, parent, name)


def _copy_up_file(tree: Tree, node: Node, size: int | None) -> None:
    job = CopyUpJob(tree, node, size)
    try:
        if not job.clone():
            limit = tree.copy_ups.inline_limit
            if limit is not None and job.size > limit:
                raise CopyUpNeeded(node)
            job.copy()
    except BaseException:
        job.abandon()
        raise
    job.commit()


def copy_root(tree: Tree) -> None:
    """Give the root of a fresh upper layer what the base's root shows."""
    lower = tree.root.lowers[0]
    status = os.stat(lower.name, dir_fd=lower.fd, follow_symlinks=False)
    copy_metadata(tree, (lower.fd, lower.name), (tree.upper.root_fd, SELF), status)
    keep(tree, tree.root, status)


def _copy_up_special(tree: Tree, node: Node) -> None:
    """A symbolic link, device, FIFO or socket."""
    dir_fd, name = tree.locate(node)
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if tree.quota is not None:
        tree.quota.take(0, 1)
    staged = tree.upper.staging_name()
    if node.type == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=dir_fd), staged, dir_fd=tree.upper.staging_fd)
    else:
        os.mknod(staged, node.type | 0o600, status.st_rdev, dir_fd=tree.upper.staging_fd)
    try:
        identity = lower_identity(tree, node, status)
        if identity is not None:
            tree.marks.set_origin(attribute_path(tree.upper.staging_fd, staged), identity)
        kept = copy_metadata(tree, (dir_fd, name), (tree.upper.staging_fd, staged), status)
        _place(tree, node, staged, status, identity)
    except OSError:
        _drop_staged(tree, staged)
        raise
    if not kept:
        tree.on_stale(node)


def _copy_up_directories(tree: Tree, directory: Directory) -> None:
    missing: list[Directory] = []
    current: Directory | None = directory
    while current is not None and not current.upper:
        missing.append(current)
        current = current.parent
    for step in reversed(missing):
        _copy_up_directory(tree, step)


def _copy_up_directory(tree: Tree, directory: Directory) -> None:
    if directory.parent is None or directory.unlinked:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), directory.name)
    refuse_immutable(tree, directory)
    dir_fd, name = tree.locate(directory)
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if tree.quota is not None:
        tree.quota.take(0, 1)
    staging_fd = tree.upper.staging_fd
    staged = tree.upper.staging_name()
    os.mkdir(staged, 0o700, dir_fd=staging_fd)
    try:
        kept = copy_metadata(tree, (dir_fd, name), (staging_fd, staged), status)
        try:
            _move_into(tree, staged, directory.parent, directory.name)
        except PermissionError:
            # Moving a directory elsewhere writes to it, too: its "..", rename(2).
            mode = stat.S_IMODE(os.stat(staged, dir_fd=staging_fd, follow_symlinks=False).st_mode)
            linux.chmod(staging_fd, staged, mode | stat.S_IRWXU)
            _move_into(tree, staged, directory.parent, directory.name)
            linux.chmod(tree.upper_fd(directory.parent), directory.name, mode)
    except OSError:
        os.rmdir(staged, dir_fd=staging_fd)
        raise
    directory.upper = True
    if not kept:
        tree.on_stale(directory)
    tree.names.made_empty(directory)
    keep(tree, directory, status)


def _place(tree: Tree, node: Node, staged: bytes, status: os.stat_result, identity: tuple[int, int] | None) -> None:
    """Move a complete copy to where the node belongs. `status` and `identity` are those of what was copied."""
    parent, name = node.parent, node.name
    if node.unlinked or parent is None:
        orphan = b"%d" % node.number
        os.rename(staged, orphan, src_dir_fd=tree.upper.staging_fd, dst_dir_fd=tree.upper.orphans_fd)
        node.sheltered_at = (tree.upper.orphans_fd, orphan)
    elif identity is not None and has_several_names(tree, node, status, identity):
        shows = _shows_at(tree, node, parent, name)
        if shows:
            copy_up(tree, parent)
        tree.links.set_names_below(identity, names_below(tree, node, status))
        node.sheltered_at = tree.links.add(identity, staged)
        if shows and not _exists(tree.upper_fd(parent), name):
            _link_name(tree, node.sheltered_at, identity, parent, name)
    else:
        copy_up(tree, parent)
        _move_into(tree, staged, parent, name)
        parent.dentries[name] = node
    node.upper = True
    tree.files.discard(node.number)  # it reads from below


def _shows_at(tree: Tree, node: Node, parent: Directory, name: bytes) -> bool:
    """Whether a node still has the name it is known by: one with several may have lost that."""
    try:
        return find(tree, parent, name).number == node.number
    except FileNotFoundError:
        return False


def _link_name(
    tree: Tree, shelter: tuple[int, bytes], identity: tuple[int, int], parent: Directory, name: bytes
) -> None:
    """Let a name that shows an indexed file from below be a name in the upper layer."""

    def make(parent_fd: int) -> None:
        os.link(shelter[1], name, src_dir_fd=shelter[0], dst_dir_fd=parent_fd, follow_symlinks=False)

    _enter(tree, parent, name, make)
    name_linked(tree, identity)


def _move_into(tree: Tree, staged: bytes, parent: Directory, name: bytes) -> None:
    """Rename a staged entry into an upper directory, which shows what it showed."""

    def make(parent_fd: int) -> None:
        os.rename(staged, name, src_dir_fd=tree.upper.staging_fd, dst_dir_fd=parent_fd)

    _enter(tree, parent, name, make)


def _enter(tree: Tree, parent: Directory, name: bytes, make: Callable[[int], None]) -> None:
    """Let `make` add an entry to an upper directory, which shows what it showed.

    Its mode may shut out a daemon without CAP_DAC_OVERRIDE: a file can be changed where none can be added.
    """
    parent_fd = tree.upper_fd(parent)
    tree.names.made(parent, name)
    kept = tree.untouched.get(parent.number) or keep(tree, parent, os.fstat(parent_fd))
    try:
        make(parent_fd)
    except PermissionError:
        with opened_up(parent_fd, SELF):
            make(parent_fd)
    linux.set_times(parent_fd, SELF, None, kept.mtime_ns)


def _create_staged(tree: Tree, name: bytes) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | tree.access_time_flag
    return os.open(name, flags, 0o600, dir_fd=tree.upper.staging_fd)


def _drop_staged(tree: Tree, staged: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(staged, dir_fd=tree.upper.staging_fd)


def _exists(dir_fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
