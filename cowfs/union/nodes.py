"""Nodes: what the kernel knows by number, their numbers, names and look-up counts.

A node lives as long as the kernel holds look-ups of it or a child node names it as its parent. Its number is its
st_ino: it never changes while the mount lives, copy-up and forgetting included, and it fits in 32 bits, for the
programs of a 32-bit chroot.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from cowfs.union.layer import Layer
from cowfs.union.listing import Listing

ROOT_NUMBER = 1
NO_GROUP = -1

# Numbers by the device that an inode lies on: the first device's inodes keep their numbers, and so on.
_SLOT_RANGES = ((0, 1 << 31), (1 << 31, 1 << 30), (3 << 30, 1 << 29))
_FIRST_SPARE_NUMBER = 7 << 29
_LAST_NUMBER = (1 << 32) - 1

_KINDS = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK)
_TYPES = {kind: kind for kind in _KINDS}


class LowerDirectory:
    """A directory of a read-only layer: immutable, for the base does not change beneath a mount."""

    __slots__ = ("fd", "layer", "name", "parent")

    def __init__(self, layer: Layer, parent: LowerDirectory | None, name: bytes, fd: int = -1) -> None:
        """A directory in another, or (no parent) one that the layer itself holds open as `fd`."""
        self.layer = layer
        self.parent = parent
        self.name = name
        self.fd = fd


class Node:
    """A file of any type but directory. Where its content is, `Tree.locate` tells.

    A base has millions: with one more attribute each takes 16 bytes more, which is why `Tree.without_acl` is a set.
    """

    __slots__ = (
        "lookups",
        "lower_directory",
        "lower_name",
        "name",
        "number",
        "parent",
        "sheltered_at",
        "type",
        "unlinked",
        "upper",
    )

    def __init__(self, number: int, kind: int, parent: Directory | None, name: bytes) -> None:
        self.number = number
        # stat.S_IFMT of the mode; one int for all, which are many.
        self.type = _TYPES.get(kind, kind)
        self.parent = parent
        self.name = name
        self.lookups = 0
        self.upper = False
        # Where the content lies while it is not in the upper layer.
        self.lower_directory: LowerDirectory | None = None
        self.lower_name = b""
        # A fixed (dir_fd, name) in the work area: the hard-link index, or the orphans.
        self.sheltered_at: tuple[int, bytes] | None = None
        self.unlinked = False

    def is_at(self, parent: Directory, name: bytes) -> bool:
        return self.parent is parent and self.name == name


class Directory(Node):
    __slots__ = (
        "children",
        "default_acl",
        "dentries",
        "listed",
        "listing",
        "lower_names",
        "lowers",
        "misses",
        "passes_group_on",
        "redirect",
        "upper_names",
    )

    def __init__(self, number: int, parent: Directory | None, name: bytes) -> None:
        super().__init__(number, stat.S_IFDIR, parent, name)
        # Nodes whose parent this is.
        self.children = 0
        # Topmost first. Empty for a directory that shows nothing from below.
        self.lowers: tuple[LowerDirectory, ...] = ()
        # The path of `lowers` in the view without the upper layer, where it is not parent's path + name.
        self.redirect: bytes | None = None
        self.listing: Listing | None = None
        # Listed once: then cookies are about.
        self.listed = False
        self.default_acl: bool | None = None  # None: not looked yet
        # The group that its setgid bit gives to new entries, or NO_GROUP; None: not looked yet.
        self.passes_group_on: int | None = None
        # The dentry cache: nodes whose name in this directory still leads to them.
        self.dentries: dict[bytes, Node] = {}
        # Owned by name_cache.py.
        self.upper_names: set[bytes] | None = None
        self.lower_names: frozenset[bytes] | None = None
        self.misses = 0


class Numbers:
    """Turns (device, inode) into node numbers.

    A slot is a device, counted in the order of the layers from the bottom, so it stays the same in later mounts.
    """

    def __init__(self, devices: list[int]) -> None:
        self._slots: dict[int, int] = {}
        for device in devices:
            self._slots.setdefault(device, len(self._slots))
        self._spare: dict[tuple[int, int], int] = {}
        self._next_spare = _FIRST_SPARE_NUMBER

    def identity(self, status: os.stat_result) -> tuple[int, int] | None:
        """The lasting `(slot, inode)` of a file, or None if it lies on no layer's own file system."""
        slot = self._slots.get(status.st_dev)
        return None if slot is None else (slot, status.st_ino)

    def number(self, device: int, inode: int) -> int:
        slot = self._slots.get(device)
        if slot is None:
            return self.spare_number(device, inode)
        return self._number(slot, inode) or self.spare_number(-1 - slot, inode)

    def number_of_identity(self, identity: tuple[int, int]) -> int:
        slot, inode = identity
        return self._number(slot, inode) or self.spare_number(-1 - slot, inode)

    def spare_number(self, device: int, inode: int) -> int:
        """A number from the remaining range, for an inode that has none of its own or whose number is taken."""
        key = (device, inode)
        number = self._spare.get(key)
        if number is None:
            if self._next_spare > _LAST_NUMBER:
                raise OSError(errno.EOVERFLOW, "no node numbers left")
            number = self._spare[key] = self._next_spare
            self._next_spare += 1
        return number

    def _number(self, slot: int, inode: int) -> int | None:
        if slot < len(_SLOT_RANGES):
            start, size = _SLOT_RANGES[slot]
            if inode < size and start + inode > ROOT_NUMBER:
                return start + inode
        return None


class Nodes:
    """All live nodes by number. `on_drop` is told of each node that is given up."""

    def __init__(self, root: Directory, on_drop: Callable[[Node], None]) -> None:
        root.lookups = 1
        self._nodes: dict[int, Node] = {root.number: root}
        self._on_drop = on_drop

    def __len__(self) -> int:
        return len(self._nodes)

    def all(self) -> list[Node]:
        """Each once."""
        return list(dict.fromkeys(self._nodes.values()))

    def get(self, number: int) -> Node:
        """The node of a number; OSError ESTALE if there is none."""
        try:
            return self._nodes[number]
        except KeyError:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from None

    def find(self, number: int) -> Node | None:
        return self._nodes.get(number)

    def add(self, node: Node) -> None:
        self._nodes[node.number] = node
        if node.parent is not None:
            node.parent.children += 1

    def add_alias(self, number: int, node: Node) -> None:
        """Let a second number lead to a node that is never given up."""
        self._nodes[number] = node

    def move(self, node: Node, parent: Directory, name: bytes) -> None:
        """Give a node another name."""
        former = node.parent
        if former is not None and former.dentries.get(node.name) is node:
            del former.dentries[node.name]
        node.parent = parent
        node.name = name
        parent.dentries[name] = node
        if former is not parent:
            parent.children += 1
            if former is not None:
                former.children -= 1
                self.drop_unneeded(former)

    def forget(self, number: int, count: int) -> None:
        """The kernel gives back `count` look-ups of a node."""
        node = self._nodes.get(number)
        if node is not None:
            node.lookups -= count
            self.drop_unneeded(node)

    def drop_unneeded(self, node: Node) -> None:
        """Drop a node, and then its parents, that nobody needs any more."""
        current: Node | None = node
        while current is not None and current.lookups <= 0:
            if isinstance(current, Directory) and current.children:
                return
            if self._nodes.pop(current.number, None) is None:
                return
            parent = current.parent
            self._on_drop(current)
            if parent is not None:
                parent.children -= 1
                if parent.dentries.get(current.name) is current:
                    del parent.dentries[current.name]
            current = parent
