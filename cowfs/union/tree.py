"""``Tree``: the layers, the nodes and the cached descriptors, and the one resolver from node to ``(dir_fd, name)``.

A tree belongs to one thread. Every other module of the union is functions over a tree.
"""

import errno
import os
import shutil
import stat
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from cowfs.union.fd_cache import DescriptorCache, cache_capacity
from cowfs.union.hard_links import HardLinks
from cowfs.union.layer import Layer, WritableLayer, empty_directory, open_directory
from cowfs.union.nodes import ROOT_NUMBER, Directory, LowerDirectory, Node, Nodes
from cowfs.union.quota import Quota
from cowfs.union.variation import NO_VARIATION, Variation
from cowfs.union.whiteout import Marks, is_whiteout, make_whiteout, parse_identity

SELF = b"."


class Untouched(NamedTuple):
    """What a directory shows, in stat(2)'s terms, as long as the change time of its content is this one."""

    actual_ctime_ns: int
    ctime_ns: int
    size: int
    blocks: int


class Tree:
    def __init__(
        self,
        layers: list[Layer],
        upper: WritableLayer,
        marks: Marks,
        *,
        durable: bool = False,
        variation: Variation = NO_VARIATION,
    ) -> None:
        """``layers`` are the read-only ones, topmost first. A durable tree syncs what it copies up."""
        self.layers = layers
        self.upper = upper
        self.marks = marks
        self.durable = durable
        self.variation = variation
        self.numbers = variation.numbers([layer.device for layer in reversed(layers)] + [upper.device])
        self.links = HardLinks(upper, layers)
        self.root = Directory(ROOT_NUMBER, None, SELF)
        self.root.upper = True
        self.root.lowers = tuple(LowerDirectory(layer, None, SELF, layer.root_fd) for layer in layers)
        self.root.redirect = b""
        self.nodes = Nodes(self.root, self._drop)
        capacity = cache_capacity()
        self.directories: DescriptorCache[Directory | LowerDirectory] = DescriptorCache(capacity)
        self.files: DescriptorCache[int] = DescriptorCache(capacity)
        # Unchanged directories whose listings are in memory, the oldest first; readdir.py keeps it short.
        self.listings: OrderedDict[Directory, None] = OrderedDict()
        # Directories whose names are known, the longest known first, and how many; name_cache.py keeps them few.
        self.named_directories: OrderedDict[Directory, None] = OrderedDict()
        self.names_kept = 0
        # By number, since a directory may be forgotten and looked up again; owned by untouched.py.
        self.untouched: dict[int, Untouched] = {}
        # O_NOATIME where no access time in the upper layer is to move; else 0.
        self.access_time_flag = 0
        # Bytes that a copy-up may copy before the operation returns; beyond that CopyUpNeeded is raised.
        self.copy_up_inline_limit: int | None = None
        # Called when an operation other than setattr changed a node's attributes; an engine replaces it.
        self.on_stale: Callable[[Node], None] = lambda _: None
        self.quota: Quota | None = None
        self.copies_running = 0
        self.read_buffer: bytearray | memoryview = bytearray(0)
        self.devices_without_nowait: set[int] = set()
        # Where a base file's content may be shared with its copy; a device that refuses is taken out.
        self.cloning_devices = {upper.device}

    def locate(self, node: Node) -> tuple[int, bytes]:
        """Where the node's content is now, as a directory descriptor and a name for ``*at`` calls without following.

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
        dir_fd, name = self.locate(node)
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)

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

    def indexed(self, node: Node) -> tuple[int, int] | None:
        """The identity under which the hard-link index holds a node's content, if it does."""
        if node.sheltered_at is None or node.sheltered_at[0] != self.upper.links_fd:
            return None
        return parse_identity(node.sheltered_at[1])

    def in_lower_index(self, node: Node) -> bool:
        """Whether a node's content is what an earlier session's hard-link index, now a lower layer's, leads to."""
        directory = node.lower_directory
        return not node.upper and directory is not None and directory.fd == directory.layer.links_fd

    def lower_identity(self, node: Node, status: os.stat_result) -> tuple[int, int] | None:
        """The lasting identity of a node whose content, of this ``status``, is in a read-only layer."""
        directory = node.lower_directory
        if directory is None or not directory.layer.position:
            return self.numbers.identity(status)
        if self.in_lower_index(node):
            return parse_identity(node.lower_name)
        origin = self.marks.origin(self.lower_fd(directory), node.lower_name, writable=False)
        return origin or self.numbers.identity(status)

    def has_several_names(self, node: Node, status: os.stat_result, identity: tuple[int, int]) -> bool:
        """Whether a file in a read-only layer is, or was before this session, a hard link of another."""
        return status.st_nlink > 1 or self.in_lower_index(node) or self.links.names_below(identity) is not None

    def names_below(self, node: Node, status: os.stat_result) -> int:
        """How many names of a file that is not a directory show from below the upper layer."""
        identity = self.lower_identity(node, status)
        directory = node.lower_directory
        if identity is None or directory is None:
            return status.st_nlink
        known = self.links.names_below(identity)
        if known is not None:
            return known
        position = -1 if self.in_lower_index(node) else directory.layer.position
        return self.links.lower_link_count(identity, position, status.st_nlink)

    def link_count(self, node: Node, status: os.stat_result) -> int:
        """The st_nlink of a file that is not a directory, from the ``status`` of its content."""
        if node.unlinked:
            return 0
        if node.sheltered_at is None:
            return status.st_nlink if node.upper else self.names_below(node, status)
        identity = self.indexed(node)
        return status.st_nlink - 1 + (0 if identity is None else self.links.names_below(identity) or 0)

    def forget_names(self, directory: Directory) -> None:
        """Know no more which names a directory has."""
        if directory in self.named_directories:
            del self.named_directories[directory]
            self.names_kept -= len(directory.upper_names or ()) + len(directory.lower_names or ())
            directory.upper_names = directory.lower_names = None

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
        if self.quota is not None:
            self.quota.forget(node.number)
        if isinstance(node, Directory):
            self.directories.discard(node)
            for lower in node.lowers:
                self.directories.discard(lower)
            self.listings.pop(node, None)
            self.forget_names(node)
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
