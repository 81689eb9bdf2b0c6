"""Node numbers, hard links and nodes that come and go, without a mount."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cowfs.union import attrs, data, dirs, files, lookup, rename
from cowfs.union.attrs import Changes
from cowfs.union.nodes import Directory, Numbers
from tests.union.conftest import ROOT, MakeTree, directory, find


def test_numbers_are_32_bit_and_distinct_whatever_the_device() -> None:
    numbers = Numbers([11, 22, 33, 44])
    inodes = (1, 2, 77, 1 << 28, 1 << 31, 1 << 40)
    made = [numbers.number(device, inode) for device in (11, 22, 33, 44, 55) for inode in inodes]
    assert len(set(made)) == len(made)
    assert all(1 < number < 1 << 32 for number in made)
    assert made == [numbers.number(device, inode) for device in (11, 22, 33, 44, 55) for inode in inodes]


def test_a_number_survives_copy_up_forgetting_and_a_new_mount(tmp_path: Path, make_tree: MakeTree) -> None:
    (tmp_path / "base/d").mkdir(parents=True)
    (tmp_path / "base/d/file").write_text("x")
    tree = make_tree("base")
    numbers = {path: find(tree, path).number for path in ("d", "d/file")}
    attrs.set_attributes(tree, find(tree, "d/file"), Changes(mode=0o600))
    assert {path: find(tree, path).number for path in numbers} == numbers
    assert {path: find(make_tree("base"), path).number for path in numbers} == numbers


def test_a_forged_origin_does_not_make_two_files_one(tmp_path: Path, make_tree: MakeTree) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/victim").write_text("victim")
    (tmp_path / "upper").mkdir()
    inode = (tmp_path / "base/victim").stat().st_ino
    for name in ("one", "two"):
        (tmp_path / "upper" / name).write_text(name)
        os.setxattr(tmp_path / "upper" / name, "user.overlay.cowfs.origin", b"0-%d" % inode)
    tree = make_tree("base")
    nodes = {name: find(tree, name) for name in ("victim", "one", "two")}
    assert len({node.number for node in nodes.values()}) == 3
    assert {name: bytes(data.read(tree, node, 0, 10)) for name, node in nodes.items()} == {
        "victim": b"victim",
        "one": b"one",
        "two": b"two",
    }


@pytest.mark.parametrize("first", ["one", "two", "d/three"])
def test_hard_links_of_the_base_stay_one_file(tmp_path: Path, make_tree: MakeTree, first: str) -> None:
    (tmp_path / "base/d").mkdir(parents=True)
    (tmp_path / "base/one").write_text("old")
    for name in ("two", "d/three"):
        os.link(tmp_path / "base/one", tmp_path / "base" / name)
    tree = make_tree("base")
    data.write(tree, find(tree, first), 0, b"new", None)
    for mounted_again in (False, True):
        tree = make_tree("base") if mounted_again else tree
        nodes = [find(tree, name) for name in ("one", "two", "d/three")]
        assert len({node.number for node in nodes}) == 1
        assert bytes(data.read(tree, nodes[0], 0, 10)) == b"new"
        assert attrs.get_attributes(tree, nodes[0]).nlink == 3
    files.unlink(tree, tree.root, b"two")
    tree = make_tree("base")
    assert attrs.get_attributes(tree, find(tree, "one")).nlink == 2
    assert (tmp_path / "base/one").read_text() == "old"


def test_an_unlinked_node_keeps_its_content_until_it_is_forgotten(tmp_path: Path, make_tree: MakeTree) -> None:
    tree = make_tree("base")
    node, _ = files.create(tree, tree.root, b"file", 0o644, ROOT)
    node.lookups += 1
    data.write(tree, node, 0, b"content", None)
    files.unlink(tree, tree.root, b"file")
    again, _ = files.create(tree, tree.root, b"file", 0o644, ROOT)
    assert again is not node
    assert bytes(data.read(tree, node, 0, 10)) == b"content"
    assert attrs.get_attributes(tree, node).nlink == 0
    assert len(os.listdir(tmp_path / "work/orphans")) == 1
    tree.nodes.forget(node.number, 1)
    assert os.listdir(tmp_path / "work/orphans") == []


def test_a_removed_directory_does_not_give_its_number_to_its_successor(make_tree: MakeTree) -> None:
    tree = make_tree("base")
    removed, _ = dirs.mkdir(tree, tree.root, b"d", 0o755, ROOT)
    removed.lookups += 1
    dirs.rmdir(tree, tree.root, b"d")
    for number in range(20):
        assert dirs.mkdir(tree, tree.root, b"%d" % number, 0o755, ROOT)[0].number != removed.number
    with pytest.raises(FileNotFoundError):
        files.create(tree, directory(removed), b"file", 0o644, ROOT)


def test_forgetting_gives_every_node_back(tmp_path: Path, make_tree: MakeTree) -> None:
    for number in range(20):
        (tmp_path / f"base/{number}/sub").mkdir(parents=True)
        (tmp_path / f"base/{number}/sub/file").touch()
    tree = make_tree("base")
    found = [find(tree, f"{number}/{rest}") for number in range(20) for rest in ("sub/file", "sub")]
    assert len(tree.nodes) == 61
    for node in found:
        tree.nodes.forget(node.number, 1)
    assert len(tree.nodes) == 1


def test_a_renamed_directory_of_the_base_keeps_what_it_shows(tmp_path: Path, make_tree: MakeTree) -> None:
    (tmp_path / "base/a/b").mkdir(parents=True)
    (tmp_path / "base/a/b/file").write_text("x")
    tree = make_tree("base")
    a = directory(find(tree, "a"))
    rename.rename(tree, (a, b"b"), (tree.root, b"moved"))
    rename.rename(tree, (tree.root, b"a"), (directory(find(tree, "moved")), b"below"))
    for mounted_again in (False, True):
        tree = make_tree("base") if mounted_again else tree
        assert bytes(data.read(tree, find(tree, "moved/file"), 0, 10)) == b"x"
        assert isinstance(find(tree, "moved/below"), Directory)
        for gone in (b"a", b"b"):
            with pytest.raises(FileNotFoundError):
                lookup.lookup(tree, tree.root, gone)


def test_hard_links_stay_one_file_through_stacked_layers(tmp_path: Path, make_tree: MakeTree) -> None:
    """The first session's layer, its index included, below a second session."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/a").write_text("one")
    for name in ("b", "c", "e"):
        os.link(tmp_path / "base/a", tmp_path / "base" / name)
    tree = make_tree("base")
    data.write(tree, find(tree, "b"), 0, b"two", None)
    files.unlink(tree, tree.root, b"a")
    tree = make_tree()
    (tmp_path / "upper").rename(tmp_path / "top")
    (tmp_path / "work").rename(tmp_path / "top-work")
    tree = make_tree("top", "base", links={"top": "top-work/links"})
    assert {find(tree, name).number for name in "bce"} == {find(tree, "b").number}
    assert attrs.get_attributes(tree, find(tree, "c")).nlink == 3
    data.write(tree, find(tree, "c"), 0, b"new", None)
    files.unlink(tree, tree.root, b"b")
    for mounted_again in (False, True):
        tree = make_tree("top", "base", links={"top": "top-work/links"}) if mounted_again else tree
        assert bytes(data.read(tree, find(tree, "e"), 0, 10)) == b"new"
        assert attrs.get_attributes(tree, find(tree, "e")).nlink == 2
