"""Everything that is not a directory: create, mknod, symlink, link, unlink, O_TMPFILE, readlink."""

from __future__ import annotations

import errno
import os
import stat

from cowfs.union.attrs import Attributes, Caller
from cowfs.union.copyup import copy_up
from cowfs.union.entries import add_entry, owner_of_new, prepare_name, remove_name
from cowfs.union.hard_links import shelter_node
from cowfs.union.lookup import lookup, no_entry
from cowfs.union.nodes import Directory, Node
from cowfs.union.readdir import entry_put
from cowfs.union.tree import SELF, Tree
from cowfs.union.xattrs import has_default_acl

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def create(tree: Tree, parent: Directory, name: bytes, mode: int, caller: Caller) -> tuple[Node, Attributes]:
    """A new regular file."""
    created: list[int] = []

    def make(dir_fd: int, place: bytes, permissions: int) -> int:
        fd = os.open(place, _CREATE | tree.access_time_flag, permissions & 0o777, dir_fd=dir_fd)
        created.append(fd)
        return fd

    try:
        node, attributes = add_entry(tree, parent, name, stat.S_IFREG | stat.S_IMODE(mode), caller, make)
    except OSError:
        for fd in created:
            os.close(fd)
        raise
    tree.files.put(node.number, created[0], writable=True)
    return node, attributes


def mknod(tree: Tree, parent: Directory, name: bytes, mode: int, rdev: int, caller: Caller) -> tuple[Node, Attributes]:
    """A device, FIFO, socket or regular file. OSError EPERM for a character device 0/0: that is a whiteout."""
    kind = stat.S_IFMT(mode) or stat.S_IFREG
    if kind == stat.S_IFREG:
        return create(tree, parent, name, mode, caller)
    if kind == stat.S_IFCHR and rdev == 0:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), name)

    def make(dir_fd: int, place: bytes, permissions: int) -> None:
        os.mknod(place, permissions, rdev, dir_fd=dir_fd)

    return add_entry(tree, parent, name, kind | stat.S_IMODE(mode), caller, make)


def symlink(tree: Tree, parent: Directory, name: bytes, target: bytes, caller: Caller) -> tuple[Node, Attributes]:
    def make(dir_fd: int, place: bytes, _: int) -> None:
        os.symlink(target, place, dir_fd=dir_fd)

    return add_entry(tree, parent, name, stat.S_IFLNK | 0o777, caller, make)


def readlink(tree: Tree, node: Node) -> bytes:
    dir_fd, name = tree.locate(node)
    return os.readlink(name, dir_fd=dir_fd)


def link(tree: Tree, node: Node, parent: Directory, name: bytes) -> None:
    """Another name for a file, one that is open but has no name left included."""
    copy_up(tree, node)
    covered = prepare_name(tree, parent, name)
    old_fd, old = tree.locate(node)
    parent_fd = tree.upper_fd(parent)
    if covered:
        staged = tree.upper.staging_name()
        os.link(old, staged, src_dir_fd=old_fd, dst_dir_fd=tree.upper.staging_fd, follow_symlinks=False)
        os.rename(staged, name, src_dir_fd=tree.upper.staging_fd, dst_dir_fd=parent_fd)
    else:
        os.link(old, name, src_dir_fd=old_fd, dst_dir_fd=parent_fd, follow_symlinks=False)
    node.unlinked = False
    entry_put(tree, parent, name, node.type)


def unlink(tree: Tree, parent: Directory, name: bytes) -> None:
    node = lookup(tree, parent, name)
    if isinstance(node, Directory):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    remove_name(tree, parent, name, node)
    tree.nodes.drop_unneeded(node)


def tmpfile(tree: Tree, parent: Directory, mode: int, caller: Caller) -> Node:
    """A file without a name, O_TMPFILE of open(2). The engine must take a look-up of it, or it is gone."""
    if parent.unlinked:
        raise no_entry(b"")
    if tree.quota is not None:
        tree.quota.take(0, 1)
    copy_up(tree, parent)
    if not has_default_acl(tree, parent):
        mode &= ~caller.umask
    parent_fd = tree.upper_fd(parent)
    flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC | tree.access_time_flag
    fd = os.open(SELF, flags, mode & 0o777, dir_fd=parent_fd)
    try:
        uid, gid, _ = owner_of_new(tree, parent, caller)
        os.fchown(fd, uid, gid)
        if special := stat.S_IMODE(mode) & ~0o777:  # the rest of the mode a default ACL may have changed
            os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) | special)
        status = os.fstat(fd)
        number = tree.numbers.number(status.st_dev, status.st_ino)
        if tree.nodes.find(number) is not None:
            number = tree.numbers.spare_number(status.st_dev, status.st_ino)
        orphan = b"%d" % number
        os.link(b"/proc/self/fd/%d" % fd, orphan, dst_dir_fd=tree.upper.orphans_fd)
    except OSError:
        os.close(fd)
        raise
    node = Node(number, stat.S_IFREG, None, b"")
    node.upper = node.unlinked = True
    shelter_node(tree, node, orphan)
    tree.nodes.add(node)
    tree.files.put(number, fd, writable=True)
    return node
