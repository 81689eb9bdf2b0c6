"""Finishing a layer for readers that know no hard-link index, such as kernel overlayfs.

While a session runs, a base file with several names that was copied up has one of them in the upper layer; the others
lead there through the index. Here the others get their place in the upper layer, too.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterator

from cowfs.union.copyup import copy_up_name
from cowfs.union.lookup import lookup, upper_status
from cowfs.union.nodes import Directory
from cowfs.union.readdir import read_directory
from cowfs.union.tree import Tree


def complete_layer(tree: Tree) -> None:
    """Give every name its place, and leave the index once a file has all its names in the upper layer."""
    link_all_names(tree)
    tree.links.drop_complete()


def recount_names(tree: Tree) -> None:
    """After a crash: a name may have gone that was not counted any more."""
    identities = {tree.numbers.number_of_identity(identity): identity for identity in tree.links.counted()}
    counts = dict.fromkeys(identities.values(), 0)
    for directory, name, number in _names_of(tree, identities):
        if upper_status(tree, directory, name) is None:
            counts[identities[number]] += 1
    for identity, count in counts.items():
        tree.links.set_names_below(identity, count)


def link_all_names(tree: Tree) -> None:
    """Walk the whole tree, if any copied-up file still has names that show from below."""
    wanted = {tree.numbers.number_of_identity(identity) for identity in tree.links.incomplete()}
    for directory, name, _ in _names_of(tree, wanted):
        node = lookup(tree, directory, name)
        copy_up_name(tree, node, directory, name)
        tree.nodes.drop_unneeded(node)


def _names_of(tree: Tree, numbers: Collection[int]) -> Iterator[tuple[Directory, bytes, int]]:
    """All names of these files, but for those in directories that show nothing from below."""
    pending = [tree.root] if numbers else []
    while pending:
        directory = pending.pop()
        try:
            entries = list(read_directory(tree, directory, 0))
        except PermissionError:  # a plain user's daemon, which then copied nothing up from in here
            continue
        for name, _, kind, number in entries:
            if name in (b".", b".."):
                continue
            if kind == stat.S_IFDIR:
                below = lookup(tree, directory, name)
                if isinstance(below, Directory) and below.lowers:
                    pending.append(below)
            elif number in numbers:
                yield directory, name, number
        tree.nodes.drop_unneeded(directory)
