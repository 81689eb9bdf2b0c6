"""Attributes are changed and asked by an open descriptor, or by name: it makes no difference."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cowfs.union import attrs, data, files
from cowfs.union.attrs import NOW, Attributes, Changes
from cowfs.union.nodes import Node
from cowfs.union.tree import Tree
from tests.union.conftest import ROOT, MakeTree, find


@pytest.fixture(params=["open", "closed", "of the base", "of the base and read"])
def changed(request: pytest.FixtureRequest, tmp_path: Path, make_tree: MakeTree) -> tuple[Tree, Node]:
    """A file of ten bytes and the mode 0644, with an open descriptor in the cache or not."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/below").write_bytes(b"0123456789")
    tree = make_tree("base")
    if "base" in request.param:
        node = find(tree, "below")
        if "read" in request.param:
            data.read(tree, node, 0, 1)
        return tree, node
    files.create(tree, tree.root, b"new", 0o644, ROOT)
    node = find(tree, "new")
    data.write(tree, node, 0, b"0123456789", None)
    if request.param == "closed":
        tree.files.clear()
    return tree, node


def _on_disk(tmp_path: Path, node: Node) -> os.stat_result:
    return (tmp_path / "upper" / os.fsdecode(node.name)).lstat()


def test_each_change_has_its_effect_and_no_other(changed: tuple[Tree, Node], tmp_path: Path) -> None:
    tree, node = changed
    shown = attrs.get_attributes(tree, node)
    for changes, field, value in (
        (Changes(mode=0o4751), "mode", 0o104751),
        (Changes(mode=0o600), "mode", 0o100600),
        (Changes(size=3), "size", 3),
        (Changes(atime_ns=-1, mtime_ns=1_500_000_000), "atime_ns", -1),
        (Changes(mtime_ns=-2_000_000_001), "mtime_ns", -2_000_000_001),
        (Changes(atime_ns=5), "atime_ns", 5),
    ):
        before, shown = shown, attrs.set_attributes(tree, node, changes)
        assert getattr(shown, field) == value
        others = set(Attributes._fields) - {field, "ctime_ns", "mtime_ns", "blocks"}
        assert {name: getattr(shown, name) for name in others} == {name: getattr(before, name) for name in others}
        assert attrs.get_attributes(tree, node) == shown
    status = _on_disk(tmp_path, node)
    assert (status.st_mode, status.st_size, status.st_atime_ns) == (0o100600, 3, 5)
    assert status.st_mtime_ns == shown.mtime_ns == -2_000_000_001


def test_a_time_of_now_is_the_kernels(changed: tuple[Tree, Node], tmp_path: Path) -> None:
    tree, node = changed
    attrs.set_attributes(tree, node, Changes(atime_ns=1, mtime_ns=1))
    earliest = time.time_ns() - 100_000_000  # the clock of file times ticks slowly
    shown = attrs.set_attributes(tree, node, Changes(mtime_ns=NOW))
    assert shown.atime_ns == 1
    assert earliest < shown.mtime_ns <= time.time_ns()
    assert _on_disk(tmp_path, node).st_mtime_ns == shown.mtime_ns


@pytest.mark.root
def test_an_owner_is_given_and_costs_setuid(changed: tuple[Tree, Node], tmp_path: Path) -> None:
    tree, node = changed
    attrs.set_attributes(tree, node, Changes(mode=0o4755))
    shown = attrs.set_attributes(tree, node, Changes(uid=4711))
    assert (shown.uid, shown.gid, shown.mode) == (4711, os.getegid(), 0o100755)
    shown = attrs.set_attributes(tree, node, Changes(gid=4712))
    assert (shown.uid, shown.gid) == (4711, 4712)
    assert _on_disk(tmp_path, node).st_gid == 4712


def test_a_file_without_a_name_is_changed_by_its_descriptor(changed: tuple[Tree, Node]) -> None:
    tree, node = changed
    attrs.set_attributes(tree, node, Changes(mode=0o640))
    files.unlink(tree, tree.root, node.name)
    shown = attrs.set_attributes(tree, node, Changes(mode=0o400))
    assert (shown.mode, shown.nlink, shown.size) == (0o100400, 0, 10)
