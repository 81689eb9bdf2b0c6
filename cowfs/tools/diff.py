"""What a layer changes: two trees compared, looking only where the layer has something.

A directory or file that was moved keeps its node number (union/nodes.py): so renames are known, not guessed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from cowfs.layer.view import Views, has_part_below, names, node_at, own_part
from cowfs.union.file_types import TYPE_NAMES
from cowfs.union.files import readlink
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree
from cowfs.union.xattrs import get_xattr, list_xattrs

_CHUNK = 1 << 20


class Kind(StrEnum):
    ADDED = "added"
    CONTENT = "changed"
    METADATA = "metadata"
    DELETED = "deleted"
    RENAMED = "renamed"


@dataclass(frozen=True)
class Change:
    """One name that is not what it was. Sizes are of files and symbolic links; None where there is nothing."""

    kind: Kind
    path: bytes
    """Relative to the root: of a deleted entry below the layer, of all others in the tree that the layer shows."""
    type: str
    size_before: int | None = None
    size_after: int | None = None
    source: bytes | None = None
    """Where a renamed entry was."""
    differs: tuple[str, ...] = ()
    """Of type, content, mode, owner, times and xattrs, those that differ."""
    link: bytes | None = None
    """Another name of an added file."""


def find_changes(views: Views) -> list[Change]:
    """Every change, sorted by path. Of a renamed directory only what else changed in it is told.

    A directory's times are no change: they follow from what was added and removed in it.
    """
    comparison = _Comparison(views)
    comparison.run()
    return sorted(comparison.changes, key=lambda change: (change.path, change.kind))


@dataclass
class _Comparison:
    views: Views
    changes: list[Change] = field(default_factory=list)
    moved: dict[int, tuple[bytes, Directory]] = field(default_factory=dict)
    """Directories that show content of another place below, by number."""
    added: list[tuple[bytes, Node]] = field(default_factory=list)
    deleted: list[tuple[bytes, Node]] = field(default_factory=list)
    names_of: dict[int, bytes] = field(default_factory=dict)
    """A name of each file that was met and is not new."""

    def run(self) -> None:
        merged, below = self.views.merged.root, self.views.below.root
        self._find_moved(merged, b"")
        self._pair(b".", merged, b".", below)
        for path, directory in self.moved.values():  # a layer may claim that two directories come from one
            self._note_all_new(path, directory)
        self._match_files()

    def _find_moved(self, directory: Directory, path: bytes) -> None:
        fd = own_part(self.views, directory)
        if fd is None:
            return
        marks = self.views.merged.marks
        with os.scandir(b"/proc/self/fd/%d" % fd) as entries:
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in below:
            child = node_at(self.views.merged, directory, name)
            if isinstance(child, Directory):
                redirected = marks.directory_marks(fd, name, writable=False).redirect is not None
                if redirected and has_part_below(self.views, child):
                    self.moved[child.number] = (path + name, child)
                self._find_moved(child, path + name + b"/")

    def _compare(self, path: bytes, directory: Directory, source: bytes, below: Directory) -> None:
        """Compare what two directories hold. The paths are theirs, with a slash at the end, or empty."""
        merged_tree, below_tree = self.views.merged, self.views.below
        same = directory.number == below.number
        fd = own_part(self.views, directory)
        if same and self.views.complete:
            if fd is None:
                return
            entries = sorted(os.listdir(b"/proc/self/fd/%d" % fd))
        else:
            entries = sorted({*names(merged_tree, directory), *names(below_tree, below)})
        for name in entries:
            after, before = node_at(merged_tree, directory, name), node_at(below_tree, below, name)
            if after is not None and before is not None and not self._moved_between(after, before):
                self._pair(path + name, after, source + name, before)
                continue
            if before is not None:
                self._note_gone(source + name, before)
            if after is not None:
                self._note_new(path + name, after)

    def _is_moved(self, node: Node) -> bool:
        """Whether a directory comes from elsewhere: then it is met where it was."""
        return isinstance(node, Directory) and has_part_below(self.views, node)

    def _moved_between(self, after: Node, before: Node) -> bool:
        if after.type == before.type == stat.S_IFDIR and after.number == before.number:
            return False
        return self._is_moved(after) or before.number in self.moved

    def _pair(self, path: bytes, after: Node, source: bytes, before: Node) -> None:
        """An entry that was and is, under the same name in the same directory."""
        if isinstance(after, Directory):
            self.moved.pop(after.number, None)
        else:
            self.names_of.setdefault(after.number, path)
        differs = self._differs(after, before)
        if differs:
            kind = Kind.CONTENT if {"type", "content"} & {*differs} else Kind.METADATA
            self._add(kind, path, after, before, differs=differs)
        self._descend(path, after, source, before)

    def _descend(self, path: bytes, after: Node, source: bytes, before: Node) -> None:
        inside = b"" if path == b"." else path + b"/"
        source_inside = b"" if source == b"." else source + b"/"
        if isinstance(after, Directory) and isinstance(before, Directory):
            self._compare(inside, after, source_inside, before)
        elif isinstance(after, Directory):
            self._each(self.views.merged, inside, after, self._note_new)
        elif isinstance(before, Directory):
            self._each(self.views.below, source_inside, before, self._note_gone)

    def _each(self, tree: Tree, path: bytes, directory: Directory, note: Callable[[bytes, Node], None]) -> None:
        for name in names(tree, directory):
            node = node_at(tree, directory, name)
            if node is not None:
                note(path + name, node)

    def _note_gone(self, path: bytes, node: Node) -> None:
        place = self.moved.pop(node.number, None) if isinstance(node, Directory) else None
        if place is not None:
            new_path, directory = place
            self._add(Kind.RENAMED, new_path, directory, node, source=path, differs=self._differs(directory, node))
            self._descend(new_path, directory, path, node)
            return
        self.deleted.append((path, node))
        if isinstance(node, Directory):
            self._each(self.views.below, path + b"/", node, self._note_gone)

    def _note_new(self, path: bytes, node: Node) -> None:
        if not self._is_moved(node):
            self._note_all_new(path, node)

    def _note_all_new(self, path: bytes, node: Node) -> None:
        self.added.append((path, node))
        if isinstance(node, Directory):
            note = self._note_all_new if self._is_moved(node) else self._note_new
            self._each(self.views.merged, path + b"/", node, note)

    def _match_files(self) -> None:
        """Of the files that were added and deleted, those of one number were renamed."""
        left: dict[int, list[tuple[bytes, Node]]] = {}
        for path, node in reversed(self.deleted):
            if not isinstance(node, Directory):
                left.setdefault(node.number, []).append((path, node))
        renamed: set[bytes] = set()
        for path, node in self.added:
            candidates = left.get(node.number)
            if candidates and candidates[-1][1].type == node.type:
                source, before = candidates.pop()
                renamed.add(source)
                self._add(Kind.RENAMED, path, node, before, source=source, differs=self._differs(node, before))
            else:
                link = None if isinstance(node, Directory) else self.names_of.get(node.number)
                self._add(Kind.ADDED, path, node, None, link=link)
            self.names_of.setdefault(node.number, path)
        for path, node in self.deleted:
            if path not in renamed:
                self._add(Kind.DELETED, path, None, node)

    def _add(
        self,
        kind: Kind,
        path: bytes,
        after: Node | None,
        before: Node | None,
        *,
        source: bytes | None = None,
        differs: tuple[str, ...] = (),
        link: bytes | None = None,
    ) -> None:
        node = after or before
        assert node is not None
        size_before = None if before is None else _size(self.views.below, before)
        size_after = None if after is None else _size(self.views.merged, after)
        self.changes.append(Change(kind, path, TYPE_NAMES[node.type], size_before, size_after, source, differs, link))

    def _differs(self, after: Node, before: Node) -> tuple[str, ...]:
        merged, below = self.views.merged, self.views.below
        if after.type != before.type:
            return ("type",)
        new, old = merged.status(after), below.status(before)
        if (new.st_dev, new.st_ino) == (old.st_dev, old.st_ino):
            return ()
        found = {
            "content": not self._same_content(after, new, before, old),
            "mode": new.st_mode != old.st_mode,
            "owner": (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid),
            "times": after.type != stat.S_IFDIR and new.st_mtime_ns != old.st_mtime_ns,
            "xattrs": _xattrs(merged, after) != _xattrs(below, before),
        }
        return tuple(name for name, so in found.items() if so)

    def _same_content(self, after: Node, new: os.stat_result, before: Node, old: os.stat_result) -> bool:
        merged, below = self.views.merged, self.views.below
        if after.type == stat.S_IFLNK:
            return readlink(merged, after) == readlink(below, before)
        if after.type != stat.S_IFREG:
            return new.st_rdev == old.st_rdev
        if new.st_size != old.st_size:
            return False
        one = merged.open_lower(after)
        try:
            other = below.open_lower(before)
            try:
                return _same_bytes(one, other, new.st_size)
            finally:
                os.close(other)
        finally:
            os.close(one)


def _size(tree: Tree, node: Node) -> int | None:
    return tree.status(node).st_size if node.type in (stat.S_IFREG, stat.S_IFLNK) else None


def _xattrs(tree: Tree, node: Node) -> dict[bytes, bytes]:
    return {name: get_xattr(tree, node, name) for name in list_xattrs(tree, node)}


def _same_bytes(one: int, other: int, size: int) -> bool:
    """Compare two files of one size; what is a hole in both is not read."""
    offset = min(_next_data(one, 0, size), _next_data(other, 0, size))
    while offset < size:
        data = os.pread(one, _CHUNK, offset)
        if not data or data != os.pread(other, _CHUNK, offset):
            return False
        offset += len(data)
        offset = min(_next_data(one, offset, size), _next_data(other, offset, size))
    return True


def _next_data(fd: int, offset: int, size: int) -> int:
    try:
        return os.lseek(fd, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return size
