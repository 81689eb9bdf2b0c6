"""Extended attributes. The layer's own marks are out of sight and out of reach."""

from __future__ import annotations

import errno
import os
import stat

from cowfs import linux
from cowfs.union.copying import usable_value
from cowfs.union.copyup import copy_up
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree
from cowfs.union.untouched import touched
from cowfs.union.whiteout import attribute_path

_DEFAULT_ACL = b"system.posix_acl_default"
_OFTEN_ASKED = frozenset((b"security.capability", b"system.posix_acl_access", _DEFAULT_ACL))
"""The kernel asks for these, of each file that is written to or used by another than its owner; few files have one."""


def get_xattr(tree: Tree, node: Node, name: bytes) -> bytes:
    """OSError ENODATA if there is no such attribute."""
    if name not in _OFTEN_ASKED:
        return os.getxattr(_path(tree, node), tree.marks.to_stored(name), follow_symlinks=False)
    if node.number in tree.without_acl:
        raise OSError(errno.ENODATA, "")
    path = _path(tree, node)
    try:
        return usable_value(name, os.getxattr(path, name, follow_symlinks=False))
    except OSError as error:
        if error.errno == errno.ENODATA:
            if _OFTEN_ASKED.isdisjoint(map(os.fsencode, os.listxattr(path, follow_symlinks=False))):
                tree.without_acl.add(node.number)
        raise


def list_xattrs(tree: Tree, node: Node, *, privileged: bool = True) -> list[bytes]:
    """`privileged`: the caller may see trusted attributes, xattr(7)."""
    stored = os.listxattr(_path(tree, node), follow_symlinks=False)
    visible = (tree.marks.to_visible(os.fsencode(name)) for name in stored)
    return [name for name in visible if name is not None and (privileged or not name.startswith(b"trusted."))]


def set_xattr(tree: Tree, node: Node, name: bytes, value: bytes, flags: int, *, kill_setgid: bool = False) -> None:
    """`flags`: os.XATTR_CREATE or XATTR_REPLACE. `kill_setgid`: the caller may not keep the bit over a new ACL."""
    if flags:
        _check_presence(tree, node, name, flags)
    copy_up(tree, node)
    touched(tree, node)
    tree.without_acl.discard(node.number)
    os.setxattr(_path(tree, node), tree.marks.to_stored(name), value, flags, follow_symlinks=False)
    if kill_setgid:
        if isinstance(node, Directory):
            node.passes_group_on = None
        dir_fd, place = tree.locate(node)
        mode = stat.S_IMODE(os.stat(place, dir_fd=dir_fd, follow_symlinks=False).st_mode)
        linux.chmod(dir_fd, place, mode & ~stat.S_ISGID)
    _note_default_acl(node, name)


def remove_xattr(tree: Tree, node: Node, name: bytes) -> None:
    """OSError ENODATA if there is no such attribute."""
    if not node.upper:
        get_xattr(tree, node, name)  # nothing to remove is nothing to copy up for
        copy_up(tree, node)
        if not _is_present(tree, node, name):
            return  # only root's daemon may give it to a copy
    touched(tree, node)
    os.removexattr(_path(tree, node), tree.marks.to_stored(name), follow_symlinks=False)
    _note_default_acl(node, name)


def has_default_acl(tree: Tree, directory: Directory) -> bool:
    """Whether new entries inherit an ACL instead of obeying the umask, acl(5)."""
    if directory.default_acl is None:
        try:
            directory.default_acl = bool(get_xattr(tree, directory, _DEFAULT_ACL))
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise
            directory.default_acl = False
    return directory.default_acl


def _check_presence(tree: Tree, node: Node, name: bytes, flags: int) -> None:
    """Refuse before copying up what setxattr(2) would refuse after it."""
    present = _is_present(tree, node, name)
    if present and flags & os.XATTR_CREATE:
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), name)
    if not present and flags & os.XATTR_REPLACE:
        raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), name)


def _is_present(tree: Tree, node: Node, name: bytes) -> bool:
    try:
        get_xattr(tree, node, name)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return False
    return True


def _note_default_acl(node: Node, name: bytes) -> None:
    if name == _DEFAULT_ACL and isinstance(node, Directory):
        node.default_acl = None


def _path(tree: Tree, node: Node) -> bytes:
    return attribute_path(*tree.locate(node))
