"""Going on in a new upper layer: what the old one holds becomes the topmost read-only layer, between two requests.

Nothing that the kernel knows changes: every node keeps its number and shows what it showed. Only where it is found is
another place: what was in the upper layer is below now, and unlinked open files move along to the new work area.
"""

from __future__ import annotations

import os

from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.link_index import LinkIndex
from cowfs.union.lookup import lookup
from cowfs.union.nodes import Directory, LowerDirectory, Node
from cowfs.union.tree import SELF, Tree


def freeze(tree: Tree, frozen: Layer, upper: WritableLayer) -> None:
    """`frozen` is the old upper layer, opened as the topmost read-only one; `upper` is empty. No copy-up runs."""
    old = tree.upper
    places = _Places(tree, frozen)
    index = LowerDirectory(frozen, None, b"", -1 if frozen.links_fd is None else frozen.links_fd)
    for node in tree.nodes.all():
        if node is tree.root:
            continue
        if node.sheltered_at is not None and node.sheltered_at[0] == old.orphans_fd:
            name = node.sheltered_at[1]
            os.rename(name, name, src_dir_fd=old.orphans_fd, dst_dir_fd=upper.orphans_fd)
            node.sheltered_at = (upper.orphans_fd, name)
        elif node.sheltered_at is not None:
            node.lower_directory, node.lower_name = index, node.sheltered_at[1]
            node.sheltered_at = None
            node.upper = False
        elif node.upper and node.parent is not None:
            node.lower_directory, node.lower_name = places.of(node.parent), node.name
            node.upper = False
            if isinstance(node, Directory):
                node.lowers = (places.of(node), *node.lowers)
        if isinstance(node, Directory):
            tree.names.forget(node)
            node.redirect = None  # they name places in the view below, which is now this one
    tree.layers = [frozen, *tree.layers]
    tree.names.forget(tree.root)
    tree.root.lowers = (places.of(tree.root), *tree.root.lowers)
    tree.directories.clear()
    tree.files.clear()
    tree.upper = upper
    tree.links = LinkIndex(upper, tree.layers)
    old.close()


def restore_names(tree: Tree) -> None:
    """Before that: a file that lost the name it was known by, but has others, is known by one of those."""
    wanted: dict[int, Node] = {}
    for node in tree.nodes.all():
        if node.sheltered_at is not None and node.sheltered_at[0] == tree.upper.orphans_fd and not node.unlinked:
            wanted[tree.status(node).st_ino] = node
    pending = [tree.root] if wanted else []
    while pending:
        directory = pending.pop()
        with os.scandir(b"/proc/self/fd/%d" % tree.upper_fd(directory)) as entries:
            found = [(entry.name, entry.inode(), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, inode, is_directory in found:
            if is_directory:
                below = lookup(tree, directory, name)
                if isinstance(below, Directory):
                    pending.append(below)
            elif inode in wanted:
                _settle_at(tree, wanted.pop(inode), directory, name)
        tree.nodes.drop_unneeded(directory)


def _settle_at(tree: Tree, node: Node, directory: Directory, name: bytes) -> None:
    if node.sheltered_at is not None:
        os.unlink(node.sheltered_at[1], dir_fd=node.sheltered_at[0])
    node.sheltered_at = None
    tree.nodes.move(node, directory, name)


class _Places:
    """Where directories of the old upper layer are, as parts of a read-only layer."""

    def __init__(self, tree: Tree, frozen: Layer) -> None:
        self._frozen = frozen
        self._known = {tree.root: LowerDirectory(frozen, None, SELF, frozen.root_fd)}

    def of(self, directory: Directory) -> LowerDirectory:
        missing: list[Directory] = []
        current: Directory | None = directory
        while current is not None and current not in self._known:
            missing.append(current)
            current = current.parent
        for step in reversed(missing):
            assert step.parent is not None
            self._known[step] = LowerDirectory(self._frozen, self._known[step.parent], step.name)
        return self._known[directory]
