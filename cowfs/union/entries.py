"""Adding a name to a directory and taking one away: what create, mkdir, link, unlink, rmdir and rename share."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from cowfs import linux
from cowfs.union.attrs import Attributes, Caller, attributes_of
from cowfs.union.copyup import copy_up, refuse_immutable
from cowfs.union.file_calls import At, change_mode, change_owner, status_of
from cowfs.union.hard_links import before_lower_name_goes, lower_name_gone, name_gone, shelter_node
from cowfs.union.lookup import Found, adopt, forget_name, lower_shows, no_entry, upper_status
from cowfs.union.nodes import NO_GROUP, Directory, Node
from cowfs.union.readdir import before_change, entry_put, entry_removed
from cowfs.union.tree import SELF, Tree, discard
from cowfs.union.untouched import touched
from cowfs.union.whiteout import attribute_path
from cowfs.union.xattrs import has_default_acl

_DAEMON = (os.geteuid(), os.getegid())
"""Owner of files that the daemon creates without chown."""
_NO_WHITEOUT_RENAME = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


Make = Callable[[int, bytes, int], int | None]
"""Creates an entry: `make(dir_fd, name, mode)`. What it returns is a descriptor of it, if there is one."""


Owner = tuple[int, int, bool]
"""Whom a new entry belongs to, user and group; and whether the latter is its parent directory's, which passes its group
and, to directories, its setgid bit on: open(2), mkdir(2)."""


def add_entry(
    tree: Tree,
    parent: Directory,
    name: bytes,
    mode: int,
    caller: Caller,
    make: Make,
) -> tuple[Node, Attributes]:
    """Add an entry that `make` creates, with its owner and mode as `caller` would get them.

    OSError EEXIST if the name shows something already.
    """
    if tree.quota is not None:
        tree.quota.take(0, 1)
    covered = prepare_name(tree, parent, name)
    inherits_acl = has_default_acl(tree, parent)
    if stat.S_IFMT(mode) != stat.S_IFLNK and not inherits_acl:
        mode &= ~caller.umask
    owner = owner_of_new(tree, parent, caller)
    parent_fd = tree.upper_fd(parent)
    status: os.stat_result | None = None
    if covered:
        _make_over_whiteout(tree, parent, name, mode, owner, make)
    else:
        fd = make(parent_fd, name, mode)
        try:
            status = _give_to((parent_fd, name) if fd is None else fd, mode, owner)
        except OSError:
            discard(parent_fd, name, stat.S_IFMT(mode))
            raise
    entry_put(tree, parent, name, stat.S_IFMT(mode))
    if status is None:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    found = Found(tree.numbers.number(status.st_dev, status.st_ino), status, in_upper=True)
    node = adopt(tree, parent, name, found)
    if inherits_acl:
        tree.without_acl.discard(node.number)
    else:
        tree.without_acl.add(node.number)
    if isinstance(node, Directory):
        tree.names.made_empty(node)
    return node, attributes_of(tree, node, status)


def prepare_name(tree: Tree, parent: Directory, name: bytes) -> bool:
    """Make ready for a new name: its directory is in the upper layer. True if a whiteout lies at the name.

    OSError EEXIST if the name shows something already.
    """
    if parent.unlinked:
        raise no_entry(name)
    status = upper_status(tree, parent, name)
    covered = status is not None and tree.is_whiteout(tree.upper, tree.upper_fd(parent), name, status)
    shown = lower_shows(tree, parent, name) if status is None else not covered
    if shown:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    if len(name) > 255:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), name)
    copy_up(tree, parent)
    before_change(tree, parent)
    forget_name(parent, name)
    tree.names.made(parent, name)
    return covered


def remove_name(tree: Tree, parent: Directory, name: bytes, node: Node) -> None:
    """Take a name away, leaving a whiteout where something would show from below; an open file lives on."""
    refuse_immutable(tree, node)
    before_change(tree, parent)
    forget_name(parent, name)
    if node.upper and node.sheltered_at is None and node.is_at(parent, name):
        status: os.stat_result | None = tree.status(node)
    else:
        status = upper_status(tree, parent, name)
    covers = status is None or lower_shows(tree, parent, name)
    if covers:
        copy_up(tree, parent)
    if status is None:
        before = before_lower_name_goes(tree, node)
        tree.names.made(parent, name)
        tree.make_whiteout(tree.upper_fd(parent), name)
        lower_name_gone(tree, node, before)
    elif node.sheltered_at is not None or not node.is_at(parent, name):
        _remove_upper_name(tree, parent, name, node.type, None, covers=covers)
    elif node.lookups > 0:
        orphan = b"%d" % node.number
        _remove_upper_name(tree, parent, name, node.type, orphan, covers=covers)
        shelter_node(tree, node, orphan)
        node.unlinked = status.st_nlink == 1
    else:
        _remove_upper_name(tree, parent, name, node.type, None, covers=covers)
        node.unlinked = True
    entry_removed(tree, parent, name)
    if tree.quota is not None:
        tree.quota.note_freed()
    if isinstance(node, Directory):
        touched(tree, node)
        node.unlinked = True
        node.lowers = ()
    else:
        name_gone(tree, node)


def _remove_upper_name(
    tree: Tree, parent: Directory, name: bytes, kind: int, orphan: bytes | None, *, covers: bool
) -> None:
    """Take an entry out of the upper layer: to the orphans under `orphan`, or away."""
    parent_fd = tree.upper_fd(parent)
    if orphan is not None:
        move_out(tree, parent_fd, name, tree.upper.orphans_fd, orphan, covers=covers)
    elif covers or kind == stat.S_IFDIR:
        staged = tree.upper.staging_name()
        move_out(tree, parent_fd, name, tree.upper.staging_fd, staged, covers=covers)
        discard(tree.upper.staging_fd, staged, kind)
    else:
        os.unlink(name, dir_fd=parent_fd)
    if not covers:
        tree.names.removed(parent, name)


def move_out(tree: Tree, old_fd: int, old: bytes, new_fd: int, new: bytes, *, covers: bool) -> None:
    """Rename; a whiteout stays behind where the entry covered something, in the same step if the layer can."""
    if not covers:
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        return
    try:
        linux.rename(old_fd, old, new_fd, new, linux.RENAME_WHITEOUT)
    except OSError as error:
        if error.errno not in _NO_WHITEOUT_RENAME:
            raise
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        tree.make_whiteout(old_fd, old)


def owner_of_new(tree: Tree, parent: Directory, caller: Caller) -> Owner:
    group = parent.passes_group_on
    if group is None:
        status = os.stat(SELF, dir_fd=tree.upper_fd(parent))
        group = parent.passes_group_on = status.st_gid if status.st_mode & stat.S_ISGID else NO_GROUP
    return caller.uid, caller.gid if group == NO_GROUP else group, group != NO_GROUP


def _give_to(at: At, mode: int, owner: Owner) -> os.stat_result | None:
    """Set owner and those mode bits that creation by the daemon does not give. The status, unless it changed then."""
    uid, gid, inherits_group = owner
    foreign = (uid, gid) != _DAEMON
    if foreign:
        change_owner(at, uid, gid)
    status = status_of(at)
    if not foreign and (uid, gid) != (status.st_uid, status.st_gid):  # a file system that has its own rule for groups
        change_owner(at, uid, gid)
        status = status_of(at)
    special = mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX)
    if inherits_group and stat.S_ISDIR(mode):
        special |= stat.S_ISGID
    if special and not stat.S_ISLNK(mode):
        change_mode(at, stat.S_IMODE(status.st_mode) | special)
        return None
    return status


def _make_over_whiteout(
    tree: Tree,
    parent: Directory,
    name: bytes,
    mode: int,
    owner: Owner,
    make: Make,
) -> None:
    """Build the entry in the staging directory and put it in the whiteout's place in one step."""
    staging_fd = tree.upper.staging_fd
    holder = tree.upper.staging_name()
    os.mkdir(holder, 0o700, dir_fd=staging_fd)
    holder_fd = os.open(holder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=staging_fd)
    try:
        if has_default_acl(tree, parent):
            acl = b"system.posix_acl_default"
            value = os.getxattr(attribute_path(tree.upper_fd(parent), SELF), acl)
            os.setxattr(attribute_path(holder_fd, SELF), acl, value)
        make(holder_fd, name, mode)
        _give_to((holder_fd, name), mode, owner)
        if stat.S_ISDIR(mode):
            tree.marks.set_opaque(holder_fd, name)
        replace_whiteout(holder_fd, name, tree.upper_fd(parent), name, mode)
    finally:
        os.close(holder_fd)
        discard(staging_fd, holder, stat.S_IFDIR)


def replace_whiteout(old_fd: int, old: bytes, new_fd: int, new: bytes, mode: int) -> None:
    """Rename onto a whiteout. For a directory, which cannot replace a file, the whiteout trades places and goes."""
    if not stat.S_ISDIR(mode):
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        return
    linux.rename(old_fd, old, new_fd, new, linux.RENAME_EXCHANGE)
    os.unlink(old, dir_fd=old_fd)
