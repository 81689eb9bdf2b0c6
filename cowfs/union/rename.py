"""rename(2) and renameat2(2) with RENAME_NOREPLACE and RENAME_EXCHANGE."""

from __future__ import annotations

import errno
import os
import stat

from cowfs import linux
from cowfs.union.copying import copy_metadata
from cowfs.union.copyup import copy_up, copy_up_name, refuse_immutable
from cowfs.union.entries import move_out
from cowfs.union.hard_links import before_lower_name_goes, lower_name_gone, name_gone, shelter_node
from cowfs.union.lookup import adopt, forget_name, look_for, lookup, lower_shows, no_entry, upper_status
from cowfs.union.nodes import Directory, Node
from cowfs.union.readdir import before_change, entry_put, entry_removed, is_empty
from cowfs.union.tree import Tree, discard
from cowfs.union.untouched import touched

# What a file system says of an attribute too long for it: such a rename has to be done by copying.
_TOO_LONG = (errno.ENOSPC, errno.E2BIG, errno.ERANGE)

Name = tuple[Directory, bytes]
"""A name in a directory."""


def rename(tree: Tree, old: Name, new: Name, flags: int = 0) -> None:
    """Errors as rename(2) has them; EXDEV only for a directory whose path in the base is too long to be recorded."""
    if flags not in (0, linux.RENAME_NOREPLACE, linux.RENAME_EXCHANGE):
        raise _error(errno.EINVAL, old[1])
    if new[0].unlinked:
        raise no_entry(new[1])
    source = lookup(tree, *old)
    target = _shown_at(tree, *new)
    try:
        _refuse_into_itself(source, new)
        if flags == linux.RENAME_EXCHANGE:
            if target is None:
                raise no_entry(new[1])
            _refuse_into_itself(target, old)
            if target is not source:
                _exchange(tree, source, old, target, new)
        elif target is None:
            _move(tree, source, old, None, new)
        elif flags == linux.RENAME_NOREPLACE:
            raise _error(errno.EEXIST, new[1])
        elif target is not source:  # two names of one file: nothing happens, rename(2)
            _refuse_replacing(tree, source, target, new[1])
            _move(tree, source, old, target, new)
    finally:
        tree.nodes.drop_unneeded(source)
        if target is not None:
            tree.nodes.drop_unneeded(target)


def _shown_at(tree: Tree, parent: Directory, name: bytes) -> Node | None:
    known = parent.dentries.get(name)
    if known is not None:
        return known
    found = look_for(tree, parent, name)
    return None if found is None else adopt(tree, parent, name, found)


def _move(tree: Tree, source: Node, old: Name, target: Node | None, new: Name) -> None:
    new_parent, new_name = new
    if len(new_name) > 255:
        raise _error(errno.ENAMETOOLONG, new_name)
    if target is not None:
        refuse_immutable(tree, target)
    copy_up_name(tree, source, *old)
    copy_up(tree, new_parent)
    _names_change(tree, old, new)
    if isinstance(source, Directory):
        _mark_for_move(tree, source, old, new)
    if isinstance(target, Directory):
        _take_away(tree, target, new)
        target = None
    status = upper_status(tree, *new)
    if target is not None:
        _before_replacing(tree, target, new, in_upper=status is not None)
    _move_entry(tree, source, old, new, status)
    if target is not None:
        if status is None:
            lower_name_gone(tree, target)
        elif status.st_nlink == 1:
            target.unlinked = True
        name_gone(tree, target)
    entry_removed(tree, *old)
    entry_put(tree, *new, source.type)
    if source.is_at(*old):
        tree.nodes.move(source, *new)


def _move_entry(tree: Tree, source: Node, old: Name, new: Name, status: os.stat_result | None) -> None:
    """In the upper layer, which has an entry of this `status` under the new name: a whiteout stays where one must."""
    (old_parent, old_name), (new_parent, new_name) = old, new
    covers = lower_shows(tree, old_parent, old_name)
    old_fd = tree.upper_fd(old_parent)
    new_fd = old_fd if new_parent is old_parent else tree.upper_fd(new_parent)
    whiteout = status is not None and tree.is_whiteout(tree.upper, new_fd, new_name, status)
    # Only now: what was asked of this directory above may just have had all its names read.
    tree.names.made(new_parent, new_name)
    if whiteout and source.type == stat.S_IFDIR:
        linux.rename(old_fd, old_name, new_fd, new_name, linux.RENAME_EXCHANGE)
        if not covers:
            os.unlink(old_name, dir_fd=old_fd)
    else:
        move_out(tree, old_fd, old_name, new_fd, new_name, covers=covers)


def _exchange(tree: Tree, source: Node, old: Name, target: Node, new: Name) -> None:
    copy_up_name(tree, source, *old)
    copy_up_name(tree, target, *new)
    _names_change(tree, old, new)
    if isinstance(source, Directory):
        _mark_for_move(tree, source, old, new)
    if isinstance(target, Directory):
        _mark_for_move(tree, target, new, old)
    (old_parent, old_name), (new_parent, new_name) = old, new
    linux.rename(tree.upper_fd(old_parent), old_name, tree.upper_fd(new_parent), new_name, linux.RENAME_EXCHANGE)
    entry_put(tree, *old, target.type)
    entry_put(tree, *new, source.type)
    source_moves = source.is_at(*old)
    if target.is_at(*new):
        tree.nodes.move(target, *old)
    if source_moves:
        tree.nodes.move(source, *new)


def _names_change(tree: Tree, *names: Name) -> None:
    """To be called before: what is known of these names and their directories may be true no more."""
    for parent, name in names:
        before_change(tree, parent)
        forget_name(parent, name)


def _mark_for_move(tree: Tree, directory: Directory, old: Name, new: Name) -> None:
    """Let a directory say where its lower content is, or that it has none, before it lies elsewhere."""
    touched(tree, directory)
    parent, name = old
    parent_fd = tree.upper_fd(parent)
    if directory.lowers:
        path = tree.lower_path(directory)
        try:
            tree.marks.set_redirect(parent_fd, name, path)
        except OSError as error:
            if error.errno in _TOO_LONG:
                raise _error(errno.EXDEV, name) from error
            raise
        directory.redirect = path
    elif lower_shows(tree, *new):
        tree.marks.set_opaque(parent_fd, name)


def _take_away(tree: Tree, target: Directory, at: Name) -> None:
    """Make an empty directory ready to be replaced in one step, by putting another like it in its place."""
    parent, name = at
    dir_fd = tree.upper_fd(parent)
    status = upper_status(tree, parent, name)
    if status is not None:
        staged, staging_fd = tree.upper.staging_name(), tree.upper.staging_fd
        os.mkdir(staged, 0o700, dir_fd=staging_fd)
        if lower_shows(tree, parent, name):
            tree.marks.set_opaque(staging_fd, staged)
        copy_metadata(tree, (dir_fd, name), (staging_fd, staged), status)
        linux.rename(staging_fd, staged, dir_fd, name, linux.RENAME_EXCHANGE)
        if target.lookups > 0:
            orphan = b"%d" % target.number
            os.rename(staged, orphan, src_dir_fd=staging_fd, dst_dir_fd=tree.upper.orphans_fd)
            shelter_node(tree, target, orphan)
        else:
            discard(staging_fd, staged, stat.S_IFDIR)
    entry_removed(tree, parent, name)
    touched(tree, target)
    target.unlinked = True
    target.lowers = ()


def _before_replacing(tree: Tree, target: Node, at: Name, *, in_upper: bool) -> None:
    """Give a file that is about to be replaced a second name among the orphans, if the kernel still knows it."""
    if tree.quota is not None:
        tree.quota.note_freed()
    if not in_upper:
        before_lower_name_goes(tree, target)
    elif target.lookups > 0 and target.sheltered_at is None and target.is_at(*at):
        orphan = b"%d" % target.number
        parent, name = at
        os.link(
            name,
            orphan,
            src_dir_fd=tree.upper_fd(parent),
            dst_dir_fd=tree.upper.orphans_fd,
            follow_symlinks=False,
        )
        shelter_node(tree, target, orphan)


def _refuse_replacing(tree: Tree, source: Node, target: Node, name: bytes) -> None:
    if isinstance(target, Directory):
        if not isinstance(source, Directory):
            raise _error(errno.EISDIR, name)
        if not is_empty(tree, target):
            raise _error(errno.ENOTEMPTY, name)
    elif isinstance(source, Directory):
        raise _error(errno.ENOTDIR, name)


def _refuse_into_itself(node: Node, at: Name) -> None:
    if not isinstance(node, Directory):
        return
    parent, name = at
    current: Directory | None = parent
    while current is not None:
        if current is node:
            raise _error(errno.EINVAL, name)
        current = current.parent


def _error(number: int, name: bytes) -> OSError:
    return OSError(number, os.strerror(number), name)
