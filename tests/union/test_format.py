"""The marks of a layer: read, written, hidden; and what a layer may say without harm."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cowfs.union import data, dirs, files, lookup, readdir, rename, xattrs
from cowfs.union.attrs import lookup_attributes
from cowfs.union.whiteout import Marks, format_identity, parse_identity
from tests.union.conftest import ROOT, MakeTree, directory, find


def _names(tree_path: Path, *names: str) -> None:
    for name in names:
        path = tree_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


@pytest.mark.parametrize("text", [b"", b"-", b"1-", b"-1", b"1-2-3", b"a-b", b"1 -2", b"9" * 50, b"\xb2-1", b"1-\n2"])
def test_nonsense_is_no_identity(text: bytes) -> None:
    assert parse_identity(text) is None


def test_an_identity_reads_as_it_was_written() -> None:
    assert parse_identity(format_identity((3, 2**40))) == (3, 2**40)


def test_marks_of_programs_are_stored_under_another_name_and_seen_under_theirs() -> None:
    marks = Marks(b"trusted")
    assert marks.to_stored(b"trusted.overlay.opaque") == b"trusted.overlay.overlay.opaque"
    assert marks.to_visible(b"trusted.overlay.overlay.opaque") == b"trusted.overlay.opaque"
    assert marks.to_visible(b"trusted.overlay.opaque") is None
    assert marks.to_stored(b"user.overlay.opaque") == b"user.overlay.opaque"


def test_a_program_can_neither_see_nor_set_the_layers_marks(tmp_path: Path, make_tree: MakeTree) -> None:
    _names(tmp_path / "base", "d/file")
    tree = make_tree("base")
    rename.rename(tree, (tree.root, b"d"), (tree.root, b"e"))
    moved = find(tree, "e")
    assert xattrs.list_xattrs(tree, moved) == []
    xattrs.set_xattr(tree, moved, b"user.overlay.redirect", b"/elsewhere", 0)
    assert xattrs.list_xattrs(tree, moved) == [b"user.overlay.redirect"]
    assert os.getxattr(tmp_path / "upper/e", "user.overlay.redirect") == b"/d"
    assert find(make_tree("base"), "e/file").type == stat.S_IFREG


@pytest.mark.parametrize(
    "redirect", [b"", b"/", b".", b"..", b"../up", b"/..", b"/d/..", b"a/b", b"//d", b"/d/", b"/d//x", b"/d/./x"]
)
def test_a_redirect_that_leads_nowhere_sane_shows_nothing_from_below(
    tmp_path: Path, make_tree: MakeTree, redirect: bytes
) -> None:
    _names(tmp_path / "base", "d/file", "x/file", "up/file")
    (tmp_path / "upper/x").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/x", "user.overlay.redirect", redirect)
    tree = make_tree("base")
    assert [name for name, *_ in readdir.read_directory(tree, directory(find(tree, "x")), 2)] == []


def test_a_directory_over_a_whiteout_shows_nothing_old(tmp_path: Path, make_tree: MakeTree) -> None:
    _names(tmp_path / "base", "d/old")
    tree = make_tree("base")
    files.unlink(tree, directory(find(tree, "d")), b"old")
    dirs.rmdir(tree, tree.root, b"d")
    assert stat.S_ISCHR(os.lstat(tmp_path / "upper/d").st_mode)
    dirs.mkdir(tree, tree.root, b"d", 0o755, ROOT)
    for mounted_again in (False, True):
        tree = make_tree("base") if mounted_again else tree
        with pytest.raises(FileNotFoundError):
            lookup.lookup(tree, directory(find(tree, "d")), b"old")


def test_layers_merge_topmost_first_with_whiteouts_opaque_and_redirects(tmp_path: Path, make_tree: MakeTree) -> None:
    _names(tmp_path / "lowest", "d/low", "d/both", "gone", "opaque/low", "from/low")
    _names(tmp_path / "top", "d/top", "d/both", "opaque/top", "to/top")
    os.mknod(tmp_path / "top/gone", stat.S_IFCHR, 0)
    os.mknod(tmp_path / "top/from", stat.S_IFCHR, 0)
    os.setxattr(tmp_path / "top/opaque", "user.overlay.opaque", b"y")
    os.setxattr(tmp_path / "top/to", "user.overlay.redirect", b"/from")
    (tmp_path / "top/d/both").write_text("of top")
    tree = make_tree("top", "lowest")

    def names(path: str) -> list[bytes]:
        return [name for name, *_ in readdir.read_directory(tree, directory(find(tree, path)), 2)]

    assert names("d") == [b"both", b"low", b"top"]
    assert names("opaque") == [b"top"]
    assert names("to") == [b"low", b"top"]
    assert [name for name, *_ in readdir.read_directory(tree, tree.root, 2)] == [b"d", b"opaque", b"to"]
    assert bytes(data.read(tree, find(tree, "d/both"), 0, 10)) == b"of top"
    rename.rename(tree, (tree.root, b"to"), (directory(find(tree, "d")), b"moved"))
    assert names("d/moved") == [b"low", b"top"]


def test_a_base_alone_may_hold_whiteouts_of_either_form(tmp_path: Path, make_tree: MakeTree) -> None:
    """An old layer without what it was made over: what it deleted is not there, whatever it is asked by."""
    _names(tmp_path / "base", "kept", "d/kept", "empty")
    os.mknod(tmp_path / "base/gone", stat.S_IFCHR, 0)
    (tmp_path / "base/d/gone").touch()
    os.setxattr(tmp_path / "base/d/gone", "user.overlay.whiteout", b"y")
    (tmp_path / "base/empty").write_bytes(b"")
    tree = make_tree("base")
    tree.layers[0].attribute_whiteouts = True
    for parent, kept in ((tree.root, [b"d", b"empty", b"kept"]), (directory(find(tree, "d")), [b"kept"])):
        assert lookup_attributes(tree, parent, b"gone") is None
        with pytest.raises(FileNotFoundError):
            lookup.lookup(tree, parent, b"gone")
        assert [name for name, *_ in readdir.read_directory(tree, parent, 2)] == kept
        assert all(lookup_attributes(tree, parent, name, remember=False) for name in kept)
