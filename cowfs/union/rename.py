"""rename(2) and renameat2(2) with RENAME_NOREPLACE and RENAME_EXCHANGE."""

import errno
import os
import stat

from cowfs import linux
from cowfs.union.copying import copy_metadata
from cowfs.union.copyup import copy_up, copy_up_name, refuse_immutable
from cowfs.union.entries import before_lower_name_goes, lower_name_gone, move_out, name_gone, shelter_node
from cowfs.union.lookup import forget_name, lookup, lower_shows, no_entry, upper_status
from cowfs.union.name_cache import name_made
from cowfs.union.nodes import Directory, Node
from cowfs.union.readdir import before_change, entry_put, entry_removed, is_empty
from cowfs.union.tree import Tree, discard
from cowfs.union.untouched import touched

# What a file system says of an attribute too long for it: such a rename has to be done by copying.
_TOO_LONG = (errno.ENOSPC, errno.E2BIG, errno.ERANGE)


def rename(
    tree: Tree, old_parent: Directory, old_name: bytes, new_parent: Directory, new_name: bytes, flags: int = 0
) -> None:
    """Errors as rename(2) has them; EXDEV only for a directory whose path in the base is too long to be recorded."""
    if flags not in (0, linux.RENAME_NOREPLACE, linux.RENAME_EXCHANGE):
        raise _error(errno.EINVAL, old_name)
    if new_parent.unlinked:
        raise no_entry(new_name)
    source = lookup(tree, old_parent, old_name)
    try:
        target: Node | None = lookup(tree, new_parent, new_name)
    except FileNotFoundError:
        target = None
    try:
        _refuse_into_itself(source, new_parent, new_name)
        if flags == linux.RENAME_EXCHANGE:
            if target is None:
                raise no_entry(new_name)
            _refuse_into_itself(target, old_parent, old_name)
            if target is not source:
                _exchange(tree, source, old_parent, old_name, target, new_parent, new_name)
        elif target is None:
            _move(tree, source, old_parent, old_name, None, new_parent, new_name)
        elif flags == linux.RENAME_NOREPLACE:
            raise _error(errno.EEXIST, new_name)
        elif target is not source:  # two names of one file: nothing happens, rename(2)
            _refuse_replacing(tree, source, target, new_name)
            _move(tree, source, old_parent, old_name, target, new_parent, new_name)
    finally:
        tree.nodes.drop_unneeded(source)
        if target is not None:
            tree.nodes.drop_unneeded(target)


def _move(
    tree: Tree,
    source: Node,
    old_parent: Directory,
    old_name: bytes,
    target: Node | None,
    new_parent: Directory,
    new_name: bytes,
) -> None:
    if len(new_name) > 255:
        raise _error(errno.ENAMETOOLONG, new_name)
    if target is not None:
        refuse_immutable(tree, target)
    copy_up_name(tree, source, old_parent, old_name)
    copy_up(tree, new_parent)
    before_change(tree, old_parent)
    before_change(tree, new_parent)
    forget_name(old_parent, old_name)
    forget_name(new_parent, new_name)
    if isinstance(source, Directory):
        _mark_for_move(tree, source, old_parent, old_name, new_parent, new_name)
    if isinstance(target, Directory):
        _take_away(tree, target, new_parent, new_name)
        target = None
    covers = lower_shows(tree, old_parent, old_name)
    status = upper_status(tree, new_parent, new_name)
    old_fd, new_fd = tree.upper_fd(old_parent), tree.upper_fd(new_parent)
    name_made(tree, new_parent, new_name)
    if target is not None:
        _before_replacing(tree, target, new_parent, new_name, in_upper=status is not None)
    whiteout = status is not None and tree.is_whiteout(tree.upper, new_fd, new_name, status)
    if whiteout and source.type == stat.S_IFDIR:
        linux.rename(old_fd, old_name, new_fd, new_name, linux.RENAME_EXCHANGE)
        if not covers:
            os.unlink(old_name, dir_fd=old_fd)
    else:
        move_out(tree, old_fd, old_name, new_fd, new_name, covers=covers)
    if target is not None:
        if status is None:
            lower_name_gone(tree, target)
        elif status.st_nlink == 1:
            target.unlinked = True
        name_gone(tree, target)
    entry_removed(tree, old_parent, old_name)
    entry_put(tree, new_parent, new_name, source.type)
    if source.is_at(old_parent, old_name):
        tree.nodes.move(source, new_parent, new_name)


def _exchange(
    tree: Tree,
    source: Node,
    old_parent: Directory,
    old_name: bytes,
    target: Node,
    new_parent: Directory,
    new_name: bytes,
) -> None:
    copy_up_name(tree, source, old_parent, old_name)
    copy_up_name(tree, target, new_parent, new_name)
    before_change(tree, old_parent)
    before_change(tree, new_parent)
    forget_name(old_parent, old_name)
    forget_name(new_parent, new_name)
    if isinstance(source, Directory):
        _mark_for_move(tree, source, old_parent, old_name, new_parent, new_name)
    if isinstance(target, Directory):
        _mark_for_move(tree, target, new_parent, new_name, old_parent, old_name)
    old_fd, new_fd = tree.upper_fd(old_parent), tree.upper_fd(new_parent)
    linux.rename(old_fd, old_name, new_fd, new_name, linux.RENAME_EXCHANGE)
    entry_put(tree, old_parent, old_name, target.type)
    entry_put(tree, new_parent, new_name, source.type)
    source_moves = source.is_at(old_parent, old_name)
    if target.is_at(new_parent, new_name):
        tree.nodes.move(target, old_parent, old_name)
    if source_moves:
        tree.nodes.move(source, new_parent, new_name)


def _mark_for_move(
    tree: Tree, directory: Directory, old_parent: Directory, old_name: bytes, new_parent: Directory, new_name: bytes
) -> None:
    """Let a directory say where its lower content is, or that it has none, before it lies elsewhere."""
    touched(tree, directory)
    parent_fd = tree.upper_fd(old_parent)
    if directory.lowers:
        path = tree.lower_path(directory)
        try:
            tree.marks.set_redirect(parent_fd, old_name, path)
        except OSError as error:
            if error.errno in _TOO_LONG:
                raise _error(errno.EXDEV, old_name) from error
            raise
        directory.redirect = path
    elif lower_shows(tree, new_parent, new_name):
        tree.marks.set_opaque(parent_fd, old_name)


def _take_away(tree: Tree, target: Directory, parent: Directory, name: bytes) -> None:
    """Make an empty directory ready to be replaced in one step, by putting another like it in its place."""
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


def _before_replacing(tree: Tree, target: Node, parent: Directory, name: bytes, *, in_upper: bool) -> None:
    """Give a file that is about to be replaced a second name among the orphans, if the kernel still knows it."""
    if tree.quota is not None:
        tree.quota.note_freed()
    if not in_upper:
        before_lower_name_goes(tree, target)
    elif target.lookups > 0 and target.sheltered_at is None and target.is_at(parent, name):
        orphan = b"%d" % target.number
        os.link(name, orphan, src_dir_fd=tree.upper_fd(parent), dst_dir_fd=tree.upper.orphans_fd, follow_symlinks=False)
        shelter_node(tree, target, orphan)


def _refuse_replacing(tree: Tree, source: Node, target: Node, name: bytes) -> None:
    if isinstance(target, Directory):
        if not isinstance(source, Directory):
            raise _error(errno.EISDIR, name)
        if not is_empty(tree, target):
            raise _error(errno.ENOTEMPTY, name)
    elif isinstance(source, Directory):
        raise _error(errno.ENOTDIR, name)


def _refuse_into_itself(node: Node, parent: Directory, name: bytes) -> None:
    current: Directory | None = parent
    while current is not None:
        if current is node:
            raise _error(errno.EINVAL, name)
        current = current.parent


def _error(number: int, name: bytes) -> OSError:
    return OSError(number, os.strerror(number), name)
