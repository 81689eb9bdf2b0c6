"""Cookies of directory listings: stable while entries come and go."""

from __future__ import annotations

import os
from pathlib import Path

from cowfs.union import dirs, files, readdir
from cowfs.union.tree import Tree
from tests.union.conftest import ROOT, MakeTree, directory, find


def _walk(entries: list[readdir.Entry]) -> list[bytes]:
    return [name for name, *_ in entries if name not in (b".", b"..")]


def _cookie_of(tree: Tree, wanted: bytes) -> int:
    return next(cookie for name, cookie, _, _ in readdir.read_directory(tree, tree.root, 0) if name == wanted)


def test_a_reader_in_the_middle_sees_every_lasting_entry_once(tmp_path: Path, make_tree: MakeTree) -> None:
    (tmp_path / "base/d").mkdir(parents=True)
    for number in range(100):
        (tmp_path / f"base/d/{number:03}").touch()
    tree = make_tree("base")
    parent = directory(find(tree, "d"))
    seen: list[bytes] = []
    cookie = 0
    for step in range(200):
        entry = next(readdir.read_directory(tree, parent, cookie), None)
        if entry is None:
            break
        name, cookie, _, _ = entry
        seen.append(name)
        files.create(tree, parent, b"new%d" % step, 0o644, ROOT)
        if step >= 1:
            files.unlink(tree, parent, b"new%d" % (step - 1))
        if step < 100 and step % 10 == 0:
            files.unlink(tree, parent, b"%03d" % step)
    lasting = [b"%03d" % number for number in range(100) if number % 10]
    assert [name for name in seen if name in lasting] == lasting


def test_a_name_that_comes_back_is_not_behind_a_reader(tmp_path: Path, make_tree: MakeTree) -> None:
    (tmp_path / "base").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "base" / name).touch()
    tree = make_tree("base")
    for step in range(200):  # more than a listing keeps of what is gone
        behind = _cookie_of(tree, b"b")
        for child in (b"a", b"c"):
            files.unlink(tree, tree.root, child)
            files.create(tree, tree.root, child, 0o644, ROOT)
        files.create(tree, tree.root, b"t%d" % step, 0o644, ROOT)
        assert _walk(list(readdir.read_directory(tree, tree.root, behind))) == []
        files.unlink(tree, tree.root, b"t%d" % step)
    assert sorted(_walk(list(readdir.read_directory(tree, tree.root, 0)))) == [b"a", b"b", b"c"]


def test_cookies_fit_in_31_bits_and_are_never_used_twice(make_tree: MakeTree) -> None:
    tree = make_tree("base")
    cookies: set[int] = set()
    for round_number in range(300):
        name = b"%d" % round_number
        files.create(tree, tree.root, name, 0o644, ROOT)
        [cookie] = [cookie for listed, cookie, _, _ in readdir.read_directory(tree, tree.root, 2) if listed == name]
        assert cookie not in cookies
        cookies.add(cookie)
        files.unlink(tree, tree.root, name)
    assert max(cookies) < 1 << 31


def test_an_unchanged_listing_made_again_has_the_same_cookies(tmp_path: Path, make_tree: MakeTree) -> None:
    (tmp_path / "base").mkdir()
    for name in ("c", "a", "b"):
        (tmp_path / "base" / name).touch()
    tree = make_tree("base")
    first = list(readdir.read_directory(tree, tree.root, 0))
    tree.root.listing = None
    tree.listings.clear()
    assert list(readdir.read_directory(tree, tree.root, 0)) == first


def test_a_dropped_listing_is_made_again_before_a_change(tmp_path: Path, make_tree: MakeTree) -> None:
    """Else a reader's cookie would mean another place after the change."""
    (tmp_path / "base").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "base" / name).touch()
    tree = make_tree("base")
    half = _cookie_of(tree, b"a")
    tree.root.listing = None
    tree.listings.clear()
    files.unlink(tree, tree.root, b"a")
    assert _walk(list(readdir.read_directory(tree, tree.root, half))) == [b"b", b"c"]


def test_listings_in_memory_are_bounded(tmp_path: Path, make_tree: MakeTree) -> None:
    for number in range(400):
        (tmp_path / f"base/{number}").mkdir(parents=True)
    tree = make_tree("base")
    for number in range(400):
        list(readdir.read_directory(tree, directory(find(tree, str(number))), 0))
    assert len(tree.listings) <= 256
    assert sum(directory(find(tree, str(number))).listing is not None for number in range(400)) <= 256


def test_numbers_in_a_listing_are_those_of_the_nodes(tmp_path: Path, make_tree: MakeTree) -> None:
    (tmp_path / "base/sub").mkdir(parents=True)
    (tmp_path / "base/file").write_text("x")
    os.symlink("file", tmp_path / "base/link")
    tree = make_tree("base")
    dirs.mkdir(tree, tree.root, b"new", 0o755, ROOT)
    listed = {name.decode(): number for name, _, _, number in readdir.read_directory(tree, tree.root, 2)}
    assert listed == {name: find(tree, name).number for name in ("sub", "file", "link", "new")}
