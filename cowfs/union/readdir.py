"""Directory listings, merged, with cookies that stay good while entries come and go.

An entry that is there throughout a reader's walk is seen exactly once, whatever others do meanwhile (POSIX readdir);
one that was added meanwhile is before all readers, so that a walk ends although its names go and come back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from cowfs.union.layer import FILE_SYSTEM_ENCODING, Layer, WritableLayer, open_listing, opened_up
from cowfs.union.listing import Listing
from cowfs.union.lookup import number_of
from cowfs.union.nodes import Directory
from cowfs.union.tree import SELF, Tree
from cowfs.union.untouched import touched

_SELF_COOKIE = 1
_PARENT_COOKIE = 2


Entry = tuple[bytes, int, int, int]
"""Name, cookie, stat.S_IFMT of the mode, node number. Bare tuples: a listing has many."""


def read_directory(tree: Tree, directory: Directory, cookie: int) -> Iterator[Entry]:
    """The entries behind a cookie, 0 for the beginning; "." and ".." first."""
    if directory.unlinked:
        return
    if cookie < _SELF_COOKIE:
        yield b".", _SELF_COOKIE, stat.S_IFDIR, directory.number
    if cookie < _PARENT_COOKIE:
        parent = directory.parent or directory
        yield b"..", _PARENT_COOKIE, stat.S_IFDIR, parent.number
    listing = _listing(tree, directory)
    for position, name, behind, kind, number in listing.after(cookie):
        if not number:
            try:
                number = listing.numbers[position] = number_of(tree, directory, name)
            except FileNotFoundError:  # the layer was changed behind our back
                continue
        yield name, behind, kind, number


def note_reading(tree: Tree, directory: Directory) -> None:
    """A caller reads from the beginning: the access time moves if the layer's file system wants that (relatime)."""
    if tree.access_time_flag or not directory.upper or directory.unlinked:
        return
    listing = _listing(tree, directory)
    if listing.read:
        return
    listing.read = True
    with suppress(PermissionError), os.scandir(b"/proc/self/fd/%d" % tree.upper_fd(directory)) as scan:
        next(scan, None)


def is_empty(tree: Tree, directory: Directory) -> bool:
    if directory.upper_names is not None and not directory.upper_names and not directory.lowers:
        return True
    return not len(_listing(tree, directory))


def count_subdirectories(tree: Tree, directory: Directory) -> int:
    return _listing(tree, directory).subdirectories


def before_change(tree: Tree, directory: Directory) -> None:
    """To be called before a name is added or removed: a reader's cookies must outlive the change."""
    if directory.listed:
        _listing(tree, directory)


def entry_put(tree: Tree, directory: Directory, name: bytes, kind: int) -> None:
    """A name was added, or is another type now."""
    touched(tree, directory)
    if directory.listing is not None:
        directory.listing.put(name, kind)
        tree.listings.drop(directory)


def entry_removed(tree: Tree, directory: Directory, name: bytes) -> None:
    touched(tree, directory)
    if directory.listing is not None:
        directory.listing.remove(name)
        tree.listings.drop(directory)


def _listing(tree: Tree, directory: Directory) -> Listing:
    listing = directory.listing
    if listing is not None:
        if not listing.changed:
            tree.listings.used(directory)
        return listing
    listing = directory.listing = Listing(_scan(tree, directory))
    directory.listed = True
    tree.listings.add(directory)
    return listing


def _scan(tree: Tree, directory: Directory) -> dict[bytes, tuple[int, int]]:
    entries: dict[bytes, tuple[int, int]] = {}
    for lower in reversed(directory.lowers):
        alone = len(directory.lowers) == 1 and not lower.layer.position
        _scan_layer(tree, entries, lower.layer, tree.lower_fd(lower), lower.layer.device if alone else None)
    if directory.upper:
        dir_fd = tree.upper_fd(directory)
        try:
            _scan_layer(tree, entries, tree.upper, dir_fd, None)
        except PermissionError:
            with opened_up(dir_fd, SELF):
                _scan_layer(tree, entries, tree.upper, dir_fd, None)
    return entries


def _scan_layer(
    tree: Tree,
    entries: dict[bytes, tuple[int, int]],
    layer: Layer | WritableLayer,
    dir_fd: int,
    device: int | None,
) -> None:
    """Add what one layer has in a directory to what the layers below it have.

    `device` is given where inode numbers speak for themselves: in a base that was never a session's layer.
    """
    suspects = (stat.S_IFCHR, stat.S_IFREG) if layer.attribute_whiteouts else (stat.S_IFCHR,)
    number_of_inode = tree.numbers.number
    encoding, errors = FILE_SYSTEM_ENCODING
    listing_fd = open_listing(dir_fd)
    try:
        with os.scandir(listing_fd) as scan:
            for entry in scan:
                name, kind = entry.name.encode(encoding, errors), _type(entry)
                if kind in suspects and tree.is_whiteout(layer, dir_fd, name, entry.stat(follow_symlinks=False)):
                    entries.pop(name, None)
                else:
                    entries[name] = (kind, 0 if device is None else number_of_inode(device, entry.inode()))
    finally:
        os.close(listing_fd)


def _type(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():  # first, so that the others need not be told not to follow: that takes them twice as long
        return stat.S_IFLNK
    if entry.is_file():
        return stat.S_IFREG
    if entry.is_dir():
        return stat.S_IFDIR
    return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
