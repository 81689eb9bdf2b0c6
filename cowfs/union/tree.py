"""`Tree`: the layers, the nodes and the cached descriptors, and the one resolver from node to `(dir_fd, name)`.

A tree is not safe for threads: it belongs to whoever holds the engine's lock (fuse/direct/dispatch.py). Every other
module of the union is functions over a tree.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from typing import NamedTuple

from cowfs.union.copy_ups import CopyUps
from cowfs.union.fd_cache import DescriptorCache, cache_capacity
from cowfs.union.file_calls import At, status_of
from cowfs.union.layer import Layer, WritableLayer, empty_directory, open_directory
from cowfs.union.link_index import LinkIndex
from cowfs.union.listing import Listings
from cowfs.union.name_cache import NameCache
from cowfs.union.nodes import ROOT_NUMBER, Directory, LowerDirectory, Node, Nodes
from cowfs.union.quota import Quota
from cowfs.union.variation import NO_VARIATION, Variation
from cowfs.union.whiteout import Marks, is_whiteout, make_whiteout

SELF = b"."


class Untouched(NamedTuple):
    """What a directory shows, in stat(2)'s terms, whatever the status of its content."""

    ctime_ns: int
    size: int
    blocks: int
    mtime_ns: int
    """That of its content, too."""


class Tree:
    def __init__(
        self,
        layers: list[Layer],
        upper: WritableLayer,
        marks: Marks,
        *,
        durable: bool = False,
        variation: Variation = NO_VARIATION,
        below_only: bool = False,
    ) -> None:
        """`layers` are the read-only ones, topmost first. A durable tree syncs what it copies up.

        `below_only`: it is only looked at, and the root, too, is that of the topmost read-only layer.
        """
        self.layers = layers
        self.upper = upper
        self.marks = marks
        self.durable = durable
        self.variation = variation
        self.numbers = variation.numbers([layer.device for layer in reversed(layers)] + [upper.device])
        self.links = LinkIndex(upper, layers)
        self.root = Directory(ROOT_NUMBER, None, SELF)
        self.root.upper = True
        self.root.lowers = tuple(LowerDirectory(layer, None, SELF, layer.root_fd) for layer in layers)
        self.root.redirect = b""
        if below_only:
            self.root.upper = False
            self.root.lower_directory, self.root.lower_name = self.root.lowers[0], SELF
        self.nodes = Nodes(self.root, self._drop)
        capacity = cache_capacity()
        self.directories: DescriptorCache[Directory | LowerDirectory] = DescriptorCache(capacity)
        self.files: DescriptorCache[int] = DescriptorCache(capacity)
        self.without_acl: set[int] = set()  # numbers of nodes known to have neither an ACL nor capabilities
        self.listings = Listings()
        self.names = NameCache(self.upper_fd, self.lower_fd)
        self.copy_ups = CopyUps(upper.device)
        # By number, since a directory may be forgotten and looked up again; owned by untouched.py.
        self.untouched: dict[int, Untouched] = {}
        # O_NOATIME where no access time in the upper layer is to move; else 0.
        self.access_time_flag = 0
        # Called when an operation other than setattr changed a node's attributes; an engine replaces it.
        self.on_stale: Callable[[Node], None] = lambda _: None
        self.quota: Quota | None = None
        """Set by `limit`."""
        self.devices_without_nowait: set[int] = set()

    def limit(self, quota: Quota | None) -> None:
        """From now on what is written is charged to this quota; None: to nobody."""
        self.quota = quota

    def locate(self, node: Node) -> tuple[int, bytes]:
        """Where the node's content is now, as a directory descriptor and a name for `*at` calls without following.

        The descriptor stays open at least until a dozen other nodes were located.
        """
        if node.sheltered_at is not None:
            return node.sheltered_at
        if node.upper:
            return (self.upper_fd(node.parent), node.name) if node.parent is not None else (self.upper.root_fd, SELF)
        if node.lower_directory is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), node.name)
        return self.lower_fd(node.lower_directory), node.lower_name

    def status(self, node: Node) -> os.stat_result:
        """stat(2) of the node's content; the inode and link count in it are the layer's, not the node's."""
        found = self.directories.get(node) if isinstance(node, Directory) else self.files.get(node.number)
        return status_of(self.locate(node) if found is None else found[0])

    def at(self, node: Node) -> At:
        """The node's content for file_calls.py: by a descriptor where one is open that allows all of it."""
        found = self.files.get(node.number)
        return self.locate(node) if found is None else found[0]

    def upper_fd(self, directory: Directory) -> int:
        """A descriptor of a directory of the upper layer."""
        found = self.directories.get(directory)
        if found is not None:
            return found[0]
        if directory.parent is None:
            return self.upper.root_fd
        if directory.sheltered_at is not None:
            fd = open_directory(*directory.sheltered_at)
            self.directories.put(directory, fd)
            return fd
        path: list[Directory] = []
        ancestor = directory
        while ancestor.parent is not None and ancestor not in self.directories:
            path.append(ancestor)
            ancestor = ancestor.parent
        start = self.upper.root_fd if ancestor.parent is None else self.upper_fd(ancestor)
        fd = _descend(start, [part.name for part in reversed(path)])
        self.directories.put(directory, fd)
        return fd

    def lower_fd(self, directory: LowerDirectory) -> int:
        """A descriptor of a directory of a read-only layer."""
        if directory.parent is None:
            return directory.fd
        found = self.directories.get(directory)
        if found is not None:
            return found[0]
        path: list[bytes] = []
        ancestor = directory
        while ancestor.parent is not None and ancestor not in self.directories:
            path.append(ancestor.name)
            ancestor = ancestor.parent
        fd = _descend(self.lower_fd(ancestor), path[::-1])
        self.directories.put(directory, fd)
        return fd

    def file(self, node: Node, *, writing: bool = False) -> int:
        """A cached descriptor of a regular file's content. Writing needs the node copied up; EPERM if it is refused."""
        found = self.files.get(node.number)
        if found is not None and (found[1] or not writing):
            return found[0]
        dir_fd, name = self.locate(node)
        if not node.upper and node.lower_directory is not None:
            fd, writable = node.lower_directory.layer.open_file(dir_fd, name), False
        else:
            fd, writable = self.upper.open_file(dir_fd, name, self.access_time_flag)
        if writing and not writable:
            os.close(fd)
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), name)
        self.files.put(node.number, fd, writable)
        return fd

    def open_lower(self, node: Node) -> int:
        """A descriptor of a regular file's content in a read-only layer, for the caller to close."""
        found = self.files.get(node.number)
        if found is not None:
            return os.dup(found[0])
        dir_fd, name = self.locate(node)
        if node.lower_directory is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), name)
        return node.lower_directory.layer.open_file(dir_fd, name)

    def lower_path(self, directory: Directory) -> bytes:
        """The path of a directory's lower content in the view without the upper layer, as a redirect names it."""
        parts: list[bytes] = []
        current = directory
        while current.redirect is None and current.parent is not None:
            parts.append(current.name)
            current = current.parent
        return b"/".join([current.redirect or b"", *reversed(parts)])

    def is_whiteout(self, layer: Layer | WritableLayer, dir_fd: int, name: bytes, status: os.stat_result) -> bool:
        """Whether what a layer has under a name says that the name is deleted."""
        if is_whiteout(status):
            return True
        return layer.attribute_whiteouts and self.marks.is_attribute_whiteout(dir_fd, name, status)

    def make_whiteout(self, dir_fd: int, name: bytes) -> None:
        """Create a whiteout where the upper layer has nothing, complete from the first moment."""
        if not self.upper.attribute_whiteouts:
            make_whiteout(dir_fd, name)
            return
        staged = self.upper.staging_name()
        self.marks.make_attribute_whiteout(self.upper.staging_fd, staged)
        os.rename(staged, name, src_dir_fd=self.upper.staging_fd, dst_dir_fd=dir_fd)

    def close(self) -> None:
        """Give back every descriptor, and the disk space of unlinked files."""
        self.files.clear()
        self.directories.clear()
        empty_directory(self.upper.orphans_fd)
        self.upper.close()
        for layer in self.layers:
            layer.close()

    def _drop(self, node: Node) -> None:
        self.files.discard(node.number)
        self.without_acl.discard(node.number)
        if self.quota is not None:
            self.quota.forget(node.number)
        if isinstance(node, Directory):
            self.directories.discard(node)
            for lower in node.lowers:
                self.directories.discard(lower)
            self.listings.drop(node)
            self.names.forget(node)
        if node.sheltered_at is not None and node.sheltered_at[0] == self.upper.orphans_fd:
            discard(*node.sheltered_at, node.type)
            if self.quota is not None:
                self.quota.note_freed()


def discard(dir_fd: int, name: bytes, kind: int) -> None:
    """Remove what the work area holds under a name: a file, or a directory with its whiteouts."""
    if kind != stat.S_IFDIR:
        os.unlink(name, dir_fd=dir_fd)
        return
    try:
        os.rmdir(name, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(name, dir_fd=dir_fd)


def _descend(start_fd: int, names: list[bytes]) -> int:
    """Open a directory by its names one after the other, so that no path is too long and no link is followed."""
    fd = -1
    for name in names:
        try:
            deeper = open_directory(fd if fd >= 0 else start_fd, name)
        finally:
            if fd >= 0:
                os.close(fd)
        fd = deeper
    return fd
