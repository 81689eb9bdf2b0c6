"""Files with several names: how many there are, what happens when one comes or goes, and where the file is found.

A base file with several names that was copied up lies in the hard-link index (link_index.py); complete.py gives each
name its place at the end.
"""

from __future__ import annotations

import os

from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree
from cowfs.union.whiteout import parse_identity


def indexed(tree: Tree, node: Node) -> tuple[int, int] | None:
    """The identity under which the hard-link index holds a node's content, if it does."""
    if node.sheltered_at is None or node.sheltered_at[0] != tree.upper.links_fd:
        return None
    return parse_identity(node.sheltered_at[1])


def in_lower_index(node: Node) -> bool:
    """Whether a node's content is what an earlier session's hard-link index, now a lower layer's, leads to."""
    directory = node.lower_directory
    return not node.upper and directory is not None and directory.fd == directory.layer.links_fd


def lower_identity(tree: Tree, node: Node, status: os.stat_result) -> tuple[int, int] | None:
    """The lasting identity of a node whose content, of this `status`, is in a read-only layer."""
    directory = node.lower_directory
    if directory is None or not directory.layer.position:
        return tree.numbers.identity(status)
    if in_lower_index(node):
        return parse_identity(node.lower_name)
    origin = tree.marks.origin(tree.lower_fd(directory), node.lower_name, writable=False)
    return origin or tree.numbers.identity(status)


def has_several_names(tree: Tree, node: Node, status: os.stat_result, identity: tuple[int, int]) -> bool:
    """Whether a file in a read-only layer is, or was before this session, a hard link of another."""
    return status.st_nlink > 1 or in_lower_index(node) or tree.links.names_below(identity) is not None


def names_below(tree: Tree, node: Node, status: os.stat_result) -> int:
    """How many names of a file that is not a directory show from below the upper layer."""
    identity = lower_identity(tree, node, status)
    directory = node.lower_directory
    if identity is None or directory is None:
        return status.st_nlink
    known = tree.links.names_below(identity)
    if known is not None:
        return known
    position = -1 if in_lower_index(node) else directory.layer.position
    return tree.links.lower_link_count(identity, position, status.st_nlink)


def in_upper_index(tree: Tree, origin: tuple[int, int], status: os.stat_result) -> tuple[int, bytes] | None:
    """Where the index has a file of the upper layer that is a copy of `origin`; None if it has not this one."""
    sheltered_at = tree.links.in_upper(origin) if status.st_nlink > 1 else None
    if sheltered_at is None or os.stat(sheltered_at[1], dir_fd=sheltered_at[0]).st_ino != status.st_ino:
        return None
    return sheltered_at


def link_count(tree: Tree, node: Node, status: os.stat_result) -> int:
    """The st_nlink of a file that is not a directory, from the `status` of its content."""
    if node.unlinked:
        return 0
    if node.sheltered_at is None:
        return status.st_nlink if node.upper else names_below(tree, node, status)
    identity = indexed(tree, node)
    return status.st_nlink - 1 + (0 if identity is None else tree.links.names_below(identity) or 0)


def name_gone(tree: Tree, node: Node) -> None:
    """After a name of a file went away: if it was the last one, the file lives only as long as it is open."""
    if node.unlinked or link_count(tree, node, tree.status(node)):
        return
    identity = indexed(tree, node)
    if identity is not None:
        orphan = b"%d" % node.number if node.lookups > 0 else None
        tree.links.remove(identity, orphan)
        if orphan is not None:
            shelter_node(tree, node, orphan)
        else:
            node.sheltered_at = None
    node.unlinked = True


def shelter_node(tree: Tree, node: Node, orphan: bytes) -> None:
    """The node's content is among the orphans now, until the node is dropped."""
    node.sheltered_at = (tree.upper.orphans_fd, orphan)


def name_linked(tree: Tree, identity: tuple[int, int]) -> None:
    """Count that a name which showed an indexed file from below is a name in the upper layer now."""
    tree.links.set_names_below(identity, max(0, (tree.links.names_below(identity) or 0) - 1))


def before_lower_name_goes(tree: Tree, node: Node) -> os.stat_result | None:
    """Enter a base file with several names in the index: after a crash its names are counted again.

    What `lower_name_gone` is to be given: the status of a file's content, if it had to be looked at.
    """
    if isinstance(node, Directory) or indexed(tree, node) is not None:
        return None
    status = tree.status(node)
    names = names_below(tree, node, status)
    if names > 1:
        identity = lower_identity(tree, node, status)
        if identity is not None and tree.links.names_below(identity) is None:
            tree.links.set_names_below(identity, names)
    return status


def lower_name_gone(tree: Tree, node: Node, status: os.stat_result | None = None) -> None:
    """Count that a name under which a file showed from below does so no more. `status`: from before."""
    if isinstance(node, Directory):
        return
    identity = indexed(tree, node)
    if identity is not None:
        names = tree.links.names_below(identity) or 0
    else:
        status = status or tree.status(node)
        names = names_below(tree, node, status)
        identity = lower_identity(tree, node, status)
    if identity is not None and (names > 1 or node.sheltered_at is not None):
        tree.links.set_names_below(identity, max(0, names - 1))
    else:
        node.unlinked = True
