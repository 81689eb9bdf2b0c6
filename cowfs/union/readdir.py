"""Directory listings, merged, with cookies that stay good while entries come and go.

A cookie is the position behind an entry: small (32-bit programs store it in 31 bits), never used twice. An entry that
is there throughout a reader's walk is seen exactly once, whatever others do meanwhile (POSIX readdir); one that was
added meanwhile is before all readers, so that a walk ends although its names go and come back.
A listing nobody changed is the same whenever it is made, so it may be dropped and made again; a changed one is kept
as long as its node.
"""

import os
import stat
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from cowfs.union.layer import Layer, WritableLayer, open_listing, opened_up
from cowfs.union.lookup import number_of
from cowfs.union.nodes import Directory
from cowfs.union.tree import SELF, Tree
from cowfs.union.untouched import touched

_SELF_COOKIE = 1
_PARENT_COOKIE = 2
_LAST_COOKIE = (1 << 31) - 2
_LISTINGS_KEPT = 256


class Entry(NamedTuple):
    name: bytes
    cookie: int
    type: int  # stat.S_IFMT of the mode
    number: int


class Listing:
    """The names of one directory. They lie here in the order opposite to that in which they are read."""

    def __init__(self, entries: dict[bytes, tuple[int, int]]) -> None:
        """``entries``: name -> (type, node number or 0 as long as it was not looked up)."""
        names = sorted(entries, reverse=True)
        self._names: list[bytes | None] = [*names]
        self._types = array("H", (entries[name][0] for name in names))
        self.numbers = array("L", (entries[name][1] for name in names))
        # Negative, so that they grow with the position.
        self._cookies = array("l", range(-_LAST_COOKIE, len(entries) - _LAST_COOKIE))
        self._next_cookie = _LAST_COOKIE - len(entries)
        self._index: dict[bytes, int] | None = None
        self._removed = 0
        self.changed = False
        self.read = False  # since it was made or changed, by a caller
        # Counted along, since the link count of a directory is asked for after each change in it.
        self.subdirectories = sum(kind == stat.S_IFDIR for kind, _ in entries.values())

    def __len__(self) -> int:
        return len(self._names) - self._removed

    def after(self, cookie: int) -> Iterator[tuple[int, bytes, int, int]]:
        """(position, name, cookie, type) of what comes behind a cookie."""
        for position in range(bisect_left(self._cookies, -cookie) - 1, -1, -1):
            name = self._names[position]
            if name is not None:
                yield position, name, -self._cookies[position], self._types[position]

    def put(self, name: bytes, kind: int) -> None:
        """A name is there now, or is something else now."""
        self.changed = True
        self.read = False
        index = self._by_name()
        position = index.get(name)
        if position is None:
            index[name] = len(self._names)
            self._names.append(name)
            self._types.append(kind)
            self.numbers.append(0)
            self._cookies.append(-self._next_cookie)
            self._next_cookie -= 1
        else:
            self.subdirectories -= self._types[position] == stat.S_IFDIR
            self._types[position] = kind
            self.numbers[position] = 0
        self.subdirectories += kind == stat.S_IFDIR

    def remove(self, name: bytes) -> None:
        self.changed = True
        self.read = False
        position = self._by_name().pop(name, None)
        if position is not None:
            self.subdirectories -= self._types[position] == stat.S_IFDIR
            self._names[position] = None
            self._removed += 1
            if self._removed > 64 + len(self._names) // 2:
                self._compact()

    def _by_name(self) -> dict[bytes, int]:
        if self._index is None:
            self._index = {name: position for position, name in enumerate(self._names) if name is not None}
        return self._index

    def _compact(self) -> None:
        """Let go of removed names; the cookies of the others stay."""
        kept = [position for position, name in enumerate(self._names) if name is not None]
        self._names = [self._names[position] for position in kept]
        self._types = array("H", (self._types[position] for position in kept))
        self.numbers = array("L", (self.numbers[position] for position in kept))
        self._cookies = array("l", (self._cookies[position] for position in kept))
        self._index = None
        self._removed = 0


def read_directory(tree: Tree, directory: Directory, cookie: int) -> Iterator[Entry]:
    """The entries behind a cookie, 0 for the beginning; "." and ".." first."""
    if directory.unlinked:
        return
    if cookie < _SELF_COOKIE:
        yield Entry(b".", _SELF_COOKIE, stat.S_IFDIR, directory.number)
    if cookie < _PARENT_COOKIE:
        parent = directory.parent or directory
        yield Entry(b"..", _PARENT_COOKIE, stat.S_IFDIR, parent.number)
    listing = _listing(tree, directory)
    for position, name, behind, kind in listing.after(cookie):
        number = listing.numbers[position]
        if not number:
            try:
                number = listing.numbers[position] = number_of(tree, directory, name)
            except FileNotFoundError:  # the layer was changed behind our back
                continue
        yield Entry(name, behind, kind, number)


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
    if isinstance(directory.listing, Listing):
        directory.listing.put(name, kind)
        tree.listings.pop(directory, None)


def entry_removed(tree: Tree, directory: Directory, name: bytes) -> None:
    touched(tree, directory)
    if isinstance(directory.listing, Listing):
        directory.listing.remove(name)
        tree.listings.pop(directory, None)


def _listing(tree: Tree, directory: Directory) -> Listing:
    listing = directory.listing
    if isinstance(listing, Listing):
        if not listing.changed:
            tree.listings.move_to_end(directory)
        return listing
    listing = Listing(_scan(tree, directory))
    directory.listing = listing
    directory.listed = True
    tree.listings[directory] = None
    if len(tree.listings) > _LISTINGS_KEPT:
        oldest, _ = tree.listings.popitem(last=False)
        oldest.listing = None
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

    ``device`` is given where inode numbers speak for themselves: in a base that was never a session's layer.
    """
    listing_fd = open_listing(dir_fd)
    try:
        with os.scandir(listing_fd) as scan:
            for entry in scan:
                name, kind = os.fsencode(entry.name), _type(entry)
                suspect = kind == stat.S_IFCHR or (layer.attribute_whiteouts and kind == stat.S_IFREG)
                if suspect and tree.is_whiteout(layer, dir_fd, name, entry.stat(follow_symlinks=False)):
                    entries.pop(name, None)
                else:
                    number = tree.numbers.number(device, entry.inode()) if device is not None else 0
                    entries[name] = (kind, number)
    finally:
        os.close(listing_fd)


def _type(entry: "os.DirEntry[str]") -> int:
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
