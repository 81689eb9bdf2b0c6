"""From a name in a directory to the entry that shows there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from cowfs.union.hard_links import in_upper_index
from cowfs.union.name_cache import lowers_lack, upper_lacks
from cowfs.union.nodes import Directory, LowerDirectory, Node
from cowfs.union.tree import Tree
from cowfs.union.whiteout import NO_MARKS, DirectoryMarks


class Found:
    """An entry as the layers show it, before it has a node."""

    __slots__ = ("in_upper", "lower_directory", "lower_name", "lowers", "number", "redirect", "sheltered_at", "status")

    def __init__(self, number: int, status: os.stat_result, *, in_upper: bool) -> None:
        self.number = number
        self.status = status
        # Whether this very name is in the upper layer. A hard link of a copied-up file may not be.
        self.in_upper = in_upper
        self.lower_directory: LowerDirectory | None = None
        self.lower_name = b""
        self.lowers: tuple[LowerDirectory, ...] = ()
        self.redirect: bytes | None = None
        self.sheltered_at: tuple[int, bytes] | None = None


class LowerEntry:
    """What the read-only layers show under a name: a file, or the directories that merge."""

    __slots__ = ("directories", "directory", "name", "status")

    def __init__(self, status: os.stat_result, directory: LowerDirectory, name: bytes) -> None:
        # Of the file, or of the lowest of the directories: the one whose identity lasts when layers are stacked.
        self.status = status
        self.directory = directory
        self.name = name
        self.directories: tuple[LowerDirectory, ...] = ()


def lookup(tree: Tree, parent: Directory, name: bytes) -> Node:
    """The node that `name` in `parent` leads to; OSError ENOENT if there is nothing."""
    return parent.dentries.get(name) or adopt(tree, parent, name, find(tree, parent, name))


def find(tree: Tree, parent: Directory, name: bytes) -> Found:
    """What shows under a name, without making a node of it; OSError ENOENT if there is nothing."""
    found = look_for(tree, parent, name)
    if found is None:
        raise no_entry(name)
    return found


def look_for(tree: Tree, parent: Directory, name: bytes) -> Found | None:
    """As `find`, but None if there is nothing."""
    if parent.unlinked:
        return None
    if parent.upper:
        status = upper_status(tree, parent, name)
        if status is not None:
            if tree.is_whiteout(tree.upper, tree.upper_fd(parent), name, status):
                return None
            if stat.S_ISDIR(status.st_mode):
                return _found_upper_directory(tree, parent, name, status)
            return _found_upper_file(tree, parent, name, status)
    lowers = parent.lowers
    if len(lowers) == 1 and not lowers[0].layer.position:
        return _found_at_the_bottom(tree, parent, lowers[0], name)
    lower = _entry_below(tree, parent, name)
    return None if lower is None else _found_lower(tree, lower)


def number_of(tree: Tree, parent: Directory, name: bytes) -> int:
    """The number of the node that a name leads to, which need not be made for that; OSError ENOENT."""
    known = parent.dentries.get(name)
    return known.number if known is not None else find(tree, parent, name).number


def adopt(tree: Tree, parent: Directory, name: bytes, found: Found, *, remember: bool = True) -> Node:
    """The node of an entry, made if there is none yet.

    `remember`: put it into the dentry cache. A base file that was only listed need not be there: the kernel asks for
    its name again only when that is to go, and a walk of the whole base would fill it with every name.
    """
    status = found.status
    remember = remember or found.in_upper or not stat.S_ISREG(status.st_mode)
    node = tree.nodes.find(found.number)
    if node is not None:
        if node.is_at(parent, name) and not node.unlinked and node.type == stat.S_IFMT(status.st_mode):
            if remember:
                parent.dentries[name] = node
            return node
        if _same_file(tree, node, status):
            return node
        # The number is taken: by a removed directory whose inode was used again, or by a forged origin.
        found.number = tree.numbers.spare_number(status.st_dev, status.st_ino)
        node = tree.nodes.find(found.number)
        if node is not None and node.type == stat.S_IFMT(status.st_mode):
            return node
    if stat.S_ISDIR(status.st_mode):
        directory = Directory(found.number, parent, name)
        directory.lowers = found.lowers
        directory.redirect = found.redirect
        node = directory
    else:
        node = Node(found.number, stat.S_IFMT(status.st_mode), parent, name)
    node.sheltered_at = found.sheltered_at
    node.lower_directory = found.lower_directory
    node.lower_name = found.lower_name
    node.upper = found.in_upper or found.sheltered_at is not None
    tree.nodes.add(node)
    if remember:
        parent.dentries[name] = node
    return node


def forget_name(parent: Directory, name: bytes) -> None:
    """To be called before a name is made or taken away: whatever happens then, it has to be looked for again."""
    parent.dentries.pop(name, None)


def upper_status(tree: Tree, parent: Directory, name: bytes) -> os.stat_result | None:
    """stat(2) of what the upper layer itself has under a name, whiteouts included."""
    if not parent.upper or upper_lacks(parent, name):
        return None
    try:
        return os.stat(name, dir_fd=tree.upper_fd(parent), follow_symlinks=False)
    except FileNotFoundError:
        tree.names.missed(parent)
        return None


def lower_entry(tree: Tree, lowers: Sequence[LowerDirectory], name: bytes) -> LowerEntry | None:
    """What the read-only directories `lowers`, topmost first, show under a name when merged."""
    found: LowerEntry | None = None
    directories: list[LowerDirectory] = []
    for directory in lowers:
        dir_fd = tree.lower_fd(directory)
        try:
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if tree.is_whiteout(directory.layer, dir_fd, name, status):
            break
        if not stat.S_ISDIR(status.st_mode):
            found = found or LowerEntry(status, directory, name)
            break
        if found is None:
            found = LowerEntry(status, directory, name)
        found.status = status
        directories.append(LowerDirectory(directory.layer, directory, name))
        # Marks only speak of what lies below, and below the lowest layer there is nothing.
        marks = tree.marks.directory_marks(dir_fd, name, writable=False) if directory.layer.position else NO_MARKS
        if marks.opaque:
            break
        if marks.redirect is not None:
            deeper = _redirected(tree, directory, lowers, marks.redirect)
            if deeper is not None:
                found.status = deeper.status
                directories.extend(deeper.directories)
            break
    if found is not None:
        found.directories = tuple(directories)
    return found


def lower_shows(tree: Tree, parent: Directory, name: bytes) -> bool:
    """Whether a name would show from below if the upper layer had nothing there."""
    return _entry_below(tree, parent, name) is not None


def _entry_below(tree: Tree, parent: Directory, name: bytes) -> LowerEntry | None:
    """What the read-only layers show under a name of a directory."""
    if not parent.lowers or lowers_lack(parent, name):
        return None
    entry = lower_entry(tree, parent.lowers, name)
    if entry is None:
        tree.names.missed(parent)
    return entry


def no_entry(name: bytes) -> OSError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _redirected(
    tree: Tree, directory: LowerDirectory, lowers: Sequence[LowerDirectory], redirect: bytes
) -> LowerEntry | None:
    """The directories below `directory` that a redirect in it leads to."""
    if not redirect.startswith(b"/"):
        below = [other for other in lowers if other.layer.position < directory.layer.position]
        entry = lower_entry(tree, below, redirect)
    else:
        entry = _lower_path_entry(tree, directory.layer.position, redirect)
    return entry if entry is not None and entry.directories else None


def _lower_path_entry(tree: Tree, position: int, path: bytes) -> LowerEntry | None:
    """What the layers below a position show at an absolute path."""
    directories: Sequence[LowerDirectory] = [root for root in tree.root.lowers if root.layer.position < position]
    entry: LowerEntry | None = None
    for component in path[1:].split(b"/"):
        entry = lower_entry(tree, directories, component)
        if entry is None:
            return None
        directories = entry.directories
    return entry


def _found_upper_directory(tree: Tree, parent: Directory, name: bytes, status: os.stat_result) -> Found:
    marks: DirectoryMarks = tree.marks.directory_marks(tree.upper_fd(parent), name, writable=True)
    lower: LowerEntry | None = None
    redirect: bytes | None = None
    if not marks.opaque:
        if marks.redirect is None:
            lower = _entry_below(tree, parent, name)
        elif marks.redirect.startswith(b"/"):
            redirect = marks.redirect
            lower = _lower_path_entry(tree, len(tree.layers), redirect)
        else:
            redirect = tree.lower_path(parent) + b"/" + marks.redirect
            lower = lower_entry(tree, parent.lowers, marks.redirect)
    if lower is None or not lower.directories:
        return Found(tree.numbers.number(status.st_dev, status.st_ino), status, in_upper=True)
    number = tree.numbers.number(lower.status.st_dev, lower.status.st_ino)
    found = Found(number, status, in_upper=True)
    found.lowers = lower.directories
    found.redirect = redirect
    return found


def _found_upper_file(tree: Tree, parent: Directory, name: bytes, status: os.stat_result) -> Found:
    origin = tree.marks.origin(tree.upper_fd(parent), name, writable=True)
    if origin is None:
        return Found(tree.numbers.number(status.st_dev, status.st_ino), status, in_upper=True)
    found = Found(tree.numbers.number_of_identity(origin), status, in_upper=True)
    found.sheltered_at = in_upper_index(tree, origin, status)
    return found


def _found_lower(tree: Tree, entry: LowerEntry) -> Found:
    status = entry.status
    identity = tree.numbers.identity(status)
    directory, name = entry.directory, entry.name
    shelter: tuple[int, bytes] | None = None
    number = 0
    if not stat.S_ISDIR(status.st_mode):
        position = directory.layer.position
        if position:  # copied up in an earlier session, from a layer further down
            origin = tree.marks.origin(tree.lower_fd(directory), name, writable=False)
            if origin is not None:
                identity = origin
                number = tree.numbers.number_of_identity(origin)
        if identity is not None and (status.st_nlink > 1 or number):
            shelter = tree.links.in_upper(identity)
            if shelter is not None:
                status = os.stat(shelter[1], dir_fd=shelter[0], follow_symlinks=False)
            elif (place := tree.links.in_lower(identity, position - 1 if number else position)) is not None:
                directory, name = place
                status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    number = number or tree.numbers.number(entry.status.st_dev, entry.status.st_ino)
    found = Found(number, status, in_upper=False)
    found.lowers = entry.directories
    found.sheltered_at = shelter
    found.lower_directory = directory
    found.lower_name = name
    return found


def _found_at_the_bottom(tree: Tree, parent: Directory, directory: LowerDirectory, name: bytes) -> Found | None:
    """What the lowest layer shows in a directory that no other has: most names of a base are such."""
    if lowers_lack(parent, name):
        return None
    dir_fd = tree.lower_fd(directory)
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        tree.names.missed(parent)
        return None
    layer = directory.layer
    regular = stat.S_ISREG(status.st_mode)
    if (layer.attribute_whiteouts or not regular) and tree.is_whiteout(layer, dir_fd, name, status):
        return None
    if regular and status.st_nlink == 1:
        found = Found(tree.numbers.number(status.st_dev, status.st_ino), status, in_upper=False)
        found.lower_directory = directory
        found.lower_name = name
        return found
    entry = LowerEntry(status, directory, name)
    if stat.S_ISDIR(status.st_mode):
        entry.directories = (LowerDirectory(layer, directory, name),)
    return _found_lower(tree, entry)


def _same_file(tree: Tree, node: Node, status: os.stat_result) -> bool:
    """Whether a node that is known by another name is the very file that was found, not only of the same number."""
    if node.type != stat.S_IFMT(status.st_mode) or node.type == stat.S_IFDIR:
        return False
    try:
        known = tree.status(node)
    except FileNotFoundError:
        return False
    return (known.st_dev, known.st_ino) == (status.st_dev, status.st_ino)
