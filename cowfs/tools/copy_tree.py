"""Writing a tree that the union shows, or a layer as it is, into a new directory.

Everything goes through descriptors: no link in what is read or written is ever followed.
"""

from __future__ import annotations

import os
import stat

from cowfs.layer.view import names, node_at
from cowfs.union.copying import copy_content, copy_metadata
from cowfs.union.file_calls import Place
from cowfs.union.hard_links import link_count
from cowfs.union.layer import Layer, open_directory
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import SELF, Tree
from cowfs.union.whiteout import Marks, make_whiteout

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeWriter:
    """Writes entries with all they have; the names of one file become hard links again."""

    def __init__(self, tree: Tree, links: bytes) -> None:
        """`links`: a directory on the target's file system for a second name of each file that has several."""
        self._tree = tree
        self._links_fd = os.open(links, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._linked: set[int] = set()
        self.set_ids = False
        """Whether a file with a set-user-ID or set-group-ID bit was written."""

    def close(self) -> None:
        os.close(self._links_fd)

    def write_tree(self, directory: Directory, target_fd: int) -> None:
        """All that shows in a directory, and then what the directory itself has."""
        tree = self._tree
        for name in names(tree, directory):
            node = node_at(tree, directory, name)
            if isinstance(node, Directory):
                os.mkdir(name, 0o700, dir_fd=target_fd)
                below_fd = open_directory(target_fd, name)
                try:
                    self.write_tree(node, below_fd)
                finally:
                    os.close(below_fd)
            elif node is not None:
                self._write_node(node, (target_fd, name))
                tree.nodes.drop_unneeded(node)
        copy_metadata(tree, tree.locate(directory), (target_fd, SELF), tree.status(directory))

    def write_layer(self, layer: Layer, source_fd: int, target_fd: int, marks: Marks) -> None:
        """What a layer itself has in a directory, whiteouts and marks included; the target gets `marks`."""
        tree = self._tree
        for name in sorted(os.listdir(b"/proc/self/fd/%d" % source_fd)):
            source, target = (source_fd, name), (target_fd, name)
            status = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
            if tree.is_whiteout(layer, source_fd, name, status):
                make_whiteout(*target)
            elif stat.S_ISDIR(status.st_mode):
                os.mkdir(name, 0o700, dir_fd=target_fd)
                self._write_layer_directory(layer, source, target, marks)
            else:
                tree.marks.origin(source_fd, name, writable=False)  # refuses a file without content
                self._write(layer, source, target, status, status.st_ino if status.st_nlink > 1 else None)

    def _write_layer_directory(self, layer: Layer, source: Place, target: Place, marks: Marks) -> None:
        below_fd, target_fd = open_directory(*source), open_directory(*target)
        try:
            self.write_layer(layer, below_fd, target_fd, marks)
            found = self._tree.marks.directory_marks(*source, writable=False)
            if found.opaque:
                marks.set_opaque(*target)
            elif found.redirect is not None:
                marks.set_redirect(*target, found.redirect)
            copy_metadata(self._tree, source, target, os.stat(source[1], dir_fd=source[0], follow_symlinks=False))
        finally:
            os.close(below_fd)
            os.close(target_fd)

    def _write_node(self, node: Node, target: Place) -> None:
        if node.lower_directory is None:  # all layers of a view are below
            raise FileNotFoundError(node.name)
        status = self._tree.status(node)
        key = node.number if link_count(self._tree, node, status) > 1 else None
        self._write(node.lower_directory.layer, self._tree.locate(node), target, status, key)

    def _write(self, layer: Layer, source: Place, target: Place, status: os.stat_result, key: int | None) -> None:
        """One file of any type but directory. `key`: what it has in common with its other names."""
        dir_fd, name = target
        second = b"%d" % (key or 0)
        if key is not None and key in self._linked:
            os.link(second, name, src_dir_fd=self._links_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
            return
        if stat.S_ISREG(status.st_mode):
            self.set_ids |= bool(status.st_mode & (stat.S_ISUID | stat.S_ISGID))
            self._write_content(layer, source, target, status)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source[1], dir_fd=source[0]), name, dir_fd=dir_fd)
        else:
            os.mknod(name, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=dir_fd)
        copy_metadata(self._tree, source, target, status)
        if key is not None:
            os.link(name, second, src_dir_fd=dir_fd, dst_dir_fd=self._links_fd, follow_symlinks=False)
            self._linked.add(key)

    def _write_content(self, layer: Layer, source: Place, target: Place, status: os.stat_result) -> None:
        source_fd = layer.open_file(*source)
        try:
            target_fd = os.open(target[1], _CREATE, 0o600, dir_fd=target[0])
            try:
                copy_content(source_fd, target_fd, status, status.st_size)
            finally:
                os.close(target_fd)
        finally:
            os.close(source_fd)
