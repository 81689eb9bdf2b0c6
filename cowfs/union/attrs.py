"""Attributes: what stat(2) shows of a node, and chmod, chown, truncate and utimes, in one call."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import NamedTuple

from cowfs import linux
from cowfs.union.copyup import copy_up
from cowfs.union.file_calls import change_mode, change_owner, set_times, status_of
from cowfs.union.hard_links import in_lower_index, link_count
from cowfs.union.lookup import adopt, look_for
from cowfs.union.nodes import Directory, Node
from cowfs.union.quota import Quota
from cowfs.union.readdir import count_subdirectories
from cowfs.union.tree import Tree
from cowfs.union.untouched import touched

NOW = linux.Moment.NOW

# Large enough that stdio reads and writes in few, large pieces: each is a request.
BLOCK_SIZE = 128 * 1024


class Caller(NamedTuple):
    """Who asks for a new entry."""

    uid: int
    gid: int
    umask: int


class Changer(NamedTuple):
    """Who changes a file. `pid` as the daemon sees it, 0 if it cannot."""

    uid: int
    gid: int
    pid: int

    def is_in(self, group: int) -> bool:
        """Whether it is one of the process's groups. Not, if the process cannot be asked for its others."""
        if group == self.gid:
            return True
        try:
            with open(f"/proc/{self.pid}/status", encoding="utf-8", errors="replace") as status:
                groups = next(line for line in status if line.startswith("Groups:"))
        except (OSError, StopIteration):
            return False
        return str(group) in groups.split()[1:]


class Attributes(NamedTuple):
    """What stat(2) shows. Sizes in bytes, `blocks` in units of 512 bytes, times in ns since the epoch."""

    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    blksize: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


@dataclass(slots=True)
class Changes:
    """What to change; None leaves it. A time may be NOW."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | linux.Moment | None = None
    mtime_ns: int | linux.Moment | None = None
    # The caller may not keep setuid and setgid bits over a change of the content.
    kill_privileges: bool = False
    changer: Changer | None = field(default=None, compare=False)

    def are_none(self) -> bool:
        """Whether nothing is to be changed."""
        return self.mode is self.uid is self.gid is self.size is self.atime_ns is self.mtime_ns is None


def get_attributes(tree: Tree, node: Node) -> Attributes:
    return attributes_of(tree, node, tree.status(node))


def lookup_attributes(
    tree: Tree, parent: Directory, name: bytes, *, remember: bool = True
) -> tuple[Node, Attributes] | None:
    """The node of a name and what it shows, for one stat(2) where that will do; None if there is nothing.

    `remember`: as `adopt` has it.
    """
    known = parent.dentries.get(name)
    if known is not None:
        return known, get_attributes(tree, known)
    found = look_for(tree, parent, name)
    if found is None:
        return None
    node = adopt(tree, parent, name, found, remember=remember)
    if isinstance(node, Directory):
        return node, get_attributes(tree, node)
    return node, attributes_of(tree, node, found.status)


def attributes_of(tree: Tree, node: Node, status: os.stat_result) -> Attributes:
    """The node's attributes, where the `status` of its content is at hand."""
    ctime_ns, size, blocks = status.st_ctime_ns, status.st_size, status.st_blocks
    if isinstance(node, Directory):
        links = _directory_link_count(tree, node, status)
        kept = tree.untouched.get(node.number)
        if kept is not None:
            ctime_ns, size, blocks = kept.ctime_ns, kept.size, kept.blocks
    elif status.st_nlink == 1 and node.sheltered_at is None and not node.unlinked and not in_lower_index(node):
        links = 1
    else:
        links = link_count(tree, node, status)
    return Attributes(
        node.number,
        status.st_mode,
        links,
        status.st_uid,
        status.st_gid,
        status.st_rdev,
        size,
        blocks + tree.variation.padding,
        BLOCK_SIZE,
        status.st_atime_ns,
        status.st_mtime_ns,
        ctime_ns,
    )


def set_attributes(tree: Tree, node: Node, changes: Changes) -> Attributes:
    """Apply all the changes. None at all is chown(-1, -1): it costs setuid bits, too."""
    loses_setgid = _may_not_keep_setgid(tree, node, changes)
    if changes.are_none():
        changes = Changes(uid=-1, gid=-1)
    copy_up(tree, node, changes.size)
    if isinstance(node, Directory):
        node.passes_group_on = None
        touched(tree, node)
    if changes.size is not None:
        fd = tree.file(node, writing=True)
        os.ftruncate(fd, changes.size)
        if tree.quota is not None:
            tree.quota.note_freed(node.number)
        if changes.kill_privileges:
            drop_privileges(tree, node, fd, changes.changer)
    at = tree.at(node)
    if changes.uid is not None or changes.gid is not None:
        # chown(2) clears setuid, setgid and capabilities by itself, but for a setgid bit of which it asks the caller.
        uid = -1 if changes.uid is None else changes.uid
        gid = -1 if changes.gid is None else changes.gid
        change_owner(at, uid, gid)
        if loses_setgid:
            change_mode(at, stat.S_IMODE(status_of(at).st_mode) & ~stat.S_ISGID)
    if changes.mode is not None:
        mode = stat.S_IMODE(changes.mode)
        change_mode(at, mode & ~stat.S_ISGID if loses_setgid else mode)
    if changes.atime_ns is not None or changes.mtime_ns is not None:
        set_times(at, changes.atime_ns, changes.mtime_ns)
    return attributes_of(tree, node, status_of(at))


def drop_privileges(tree: Tree, node: Node, fd: int, changer: Changer | None) -> None:
    """Clear setuid and setgid, as the kernel does when somebody without CAP_FSETID writes.

    Where the group may not execute, setgid stays if the group is one of the `changer`'s.
    """
    status = os.fstat(fd)
    mode = status.st_mode
    kept = mode & ~stat.S_ISUID
    if mode & stat.S_ISGID and (mode & stat.S_IXGRP or changer is None or not changer.is_in(status.st_gid)):
        kept &= ~stat.S_ISGID
    if kept != mode:
        os.fchmod(fd, stat.S_IMODE(kept))
        tree.on_stale(node)


def _may_not_keep_setgid(tree: Tree, node: Node, changes: Changes) -> bool:
    """Whether somebody who is not in a file's group costs it a setgid bit by another change than of the mode."""
    changer = changes.changer
    if changer is None or not changer.uid or isinstance(node, Directory):
        return False
    if changes.size is None and changes.uid is None and changes.gid is None and not changes.are_none():
        return False
    status = tree.status(node)
    return bool(status.st_mode & stat.S_ISGID) and not changer.is_in(status.st_gid)


def birth_time(tree: Tree, node: Node) -> int | None:
    """When the node's content was created, in ns; None if its file system does not know."""
    return linux.birth_time(*tree.locate(node))


def statfs(tree: Tree) -> os.statvfs_result:
    """The space left is that of the writable layer."""
    disk = os.fstatvfs(tree.upper.work_fd)
    return disk if tree.quota is None else _limited(disk, tree.quota)


def _limited(disk: os.statvfs_result, quota: Quota) -> os.statvfs_result:
    """What df(1) shows of a limit: it all, and of it what is left and is on the disk."""
    used_size, used_inodes = quota.used()
    fields = list(disk)
    if quota.size is not None:
        left = max(0, quota.size - used_size) // disk.f_frsize
        fields[2:5] = quota.size // disk.f_frsize, min(left, disk.f_bfree), min(left, disk.f_bavail)
    if quota.inodes is not None:
        left = max(0, quota.inodes - used_inodes)
        fields[5:8] = quota.inodes, min(left, disk.f_ffree), min(left, disk.f_favail)
    return os.statvfs_result(fields)


def _directory_link_count(tree: Tree, directory: Directory, status: os.stat_result) -> int:
    if directory.unlinked:
        return 0
    places = len(directory.lowers) + directory.upper
    # Some file systems do not count subdirectories and say 1: then so do we.
    if places == 1 or status.st_nlink < 2:
        return status.st_nlink
    try:
        return 2 + count_subdirectories(tree, directory)
    except PermissionError:  # a plain user's daemon may look in as little as the user may
        return status.st_nlink
