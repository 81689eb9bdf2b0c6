"""A union over small directories, without a mount."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from cowfs.union import lookup
from cowfs.union.attrs import Caller
from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree
from cowfs.union.whiteout import Marks

MakeTree = Callable[..., Tree]

ROOT = Caller(os.geteuid(), os.getegid(), 0o022)


def find(tree: Tree, path: str) -> Node:
    """The node of a path, as the kernel would come to it, with a look-up taken of it."""
    node: Node = tree.root
    for name in path.split("/"):
        node = lookup.lookup(tree, directory(node), name.encode())
    node.lookups += 1
    return node


def directory(node: Node) -> Directory:
    assert isinstance(node, Directory)
    return node


@pytest.fixture
def make_tree(tmp_path: Path) -> Iterator[MakeTree]:
    """Makes a tree over `tmp_path`/name for each name given, topmost first; all share tmp_path/upper.

    `links` names the hard-link index of those that were a session's layer. A new tree closes the one before.
    """
    trees: list[Tree] = []
    umask = os.umask(0)

    def make(*names: str, links: Mapping[str, str] = MappingProxyType({})) -> Tree:
        for tree in trees:
            tree.close()
        trees.clear()
        for name in (*names, "upper", "work"):
            (tmp_path / name).mkdir(exist_ok=True)
        layers = [
            Layer(
                os.fsencode(tmp_path / name),
                len(names) - 1 - index,
                os.fsencode(tmp_path / links[name]) if name in links else None,
            )
            for index, name in enumerate(names)
        ]
        upper = WritableLayer(os.fsencode(tmp_path / "upper"), os.fsencode(tmp_path / "work"))
        trees.append(Tree(layers, upper, Marks(b"user")))
        return trees[0]

    yield make
    for tree in trees:
        tree.close()
    os.umask(umask)
