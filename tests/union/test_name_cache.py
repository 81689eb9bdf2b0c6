"""What is known of the names in a directory saves system calls and never hides a name."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cowfs import linux
from cowfs.union import dirs, files, name_cache, rename
from cowfs.union.lookup import lookup
from cowfs.union.readdir import read_directory
from cowfs.union.tree import Tree
from tests.union.conftest import ROOT, MakeTree, directory, find


def look_in_vain(tree: Tree, path: str, times: int = 20) -> None:
    for number in range(times):
        with pytest.raises(FileNotFoundError):
            find(tree, f"{path}/nothing{number}")


def is_shown(tree: Tree, path: str) -> bool:
    try:
        find(tree, path)
    except FileNotFoundError:
        return False
    return True


@pytest.fixture
def tree(make_tree: MakeTree, tmp_path: Path) -> Tree:
    (tmp_path / "base/d/below").mkdir(parents=True)
    (tmp_path / "base/d/file").write_text("base")
    made = make_tree("base")
    look_in_vain(made, "d")
    return made


def test_what_is_not_there_is_known_without_a_system_call(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = directory(find(tree, "d"))
    monkeypatch.setattr("os.stat", None)
    with pytest.raises(FileNotFoundError):
        lookup(tree, parent, b"still nothing")


def test_names_made_in_every_way_are_found(tree: Tree) -> None:
    parent = directory(find(tree, "d"))
    files.create(tree, parent, b"created", 0o644, ROOT)
    look_in_vain(tree, "d")
    dirs.mkdir(tree, parent, b"made", 0o755, ROOT)
    files.symlink(tree, parent, b"link", b"target", ROOT)
    files.link(tree, find(tree, "d/created"), parent, b"linked")
    rename.rename(tree, (parent, b"created"), (parent, b"moved"))
    rename.rename(tree, (parent, b"below"), (directory(find(tree, "d/made")), b"below"))
    assert all(is_shown(tree, f"d/{name}") for name in ("made", "link", "linked", "moved", "made/below", "file"))
    assert not any(is_shown(tree, f"d/{name}") for name in ("created", "below"))
    shown = {name for name, *_ in read_directory(tree, parent, 2)}
    assert shown == {b"made", b"link", b"linked", b"moved", b"file"}


@pytest.mark.parametrize("misses", range(8))
def test_names_read_in_the_middle_of_a_change_are_those_after_it(
    make_tree: MakeTree, tmp_path: Path, misses: int
) -> None:
    """A change looks for names itself, and at some count of those that were not there all names are read."""
    (tmp_path / "base/d").mkdir(parents=True)
    (tmp_path / "base/d/file").write_text("base")
    (tmp_path / "base/d/other").write_text("base")
    tree = make_tree("base")
    parent = directory(find(tree, "d"))
    files.create(tree, parent, b"one", 0o644, ROOT)
    changes: list[tuple[Callable[[], object], str]] = [
        (lambda: files.create(tree, parent, b"created", 0o644, ROOT), "created"),
        (lambda: dirs.mkdir(tree, parent, b"made", 0o755, ROOT), "made"),
        (lambda: files.symlink(tree, parent, b"link", b"target", ROOT), "link"),
        (lambda: files.link(tree, find(tree, "d/one"), parent, b"linked"), "linked"),
        (lambda: rename.rename(tree, (parent, b"one"), (parent, b"two")), "two"),
        (lambda: rename.rename(tree, (parent, b"made"), (parent, b"moved")), "moved"),
        (lambda: rename.rename(tree, (parent, b"file"), (parent, b"renamed")), "renamed"),
        (lambda: rename.rename(tree, (parent, b"two"), (parent, b"file")), "file"),
        (lambda: files.link(tree, find(tree, "d/other"), parent, b"again"), "again"),
        (lambda: rename.rename(tree, (parent, b"link"), (parent, b"again"), linux.RENAME_EXCHANGE), "link"),
    ]
    for change, name in changes:
        tree.names.forget(parent)
        parent.misses = misses
        change()
        parent.dentries.clear()
        assert is_shown(tree, f"d/{name}"), name
    tree.names.forget(parent)
    parent.misses = misses
    files.unlink(tree, parent, b"other")
    parent.dentries.clear()
    assert not is_shown(tree, "d/other")
    shown = {name for name, *_ in read_directory(tree, parent, 2)}
    assert shown == {b"created", b"link", b"linked", b"moved", b"renamed", b"file", b"again"}


def test_a_base_file_that_was_removed_and_made_again_is_the_new_one(tree: Tree) -> None:
    parent = directory(find(tree, "d"))
    former = find(tree, "d/file")
    files.unlink(tree, parent, b"file")
    assert not is_shown(tree, "d/file")
    files.create(tree, parent, b"file", 0o644, ROOT)
    assert find(tree, "d/file") is not former


def test_a_name_that_is_too_long_is_told_so_also_when_all_names_are_known(tree: Tree) -> None:
    with pytest.raises(OSError) as refused:  # noqa: PT011
        lookup(tree, directory(find(tree, "d")), b"x" * 256)
    assert refused.value.errno == errno.ENAMETOOLONG


def test_only_so_many_names_are_kept(make_tree: MakeTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_cache, "_NAMES_KEPT", 10)
    for number in range(8):
        (tmp_path / f"base/d{number}").mkdir(parents=True)
        for name in range(4):
            (tmp_path / f"base/d{number}/{name}").touch()
    tree = make_tree("base")
    for number in range(8):
        look_in_vain(tree, f"d{number}")
        assert len(tree.names) <= 10
    assert all(is_shown(tree, f"d{number}/3") for number in range(8))
    parent = directory(find(tree, "d7"))
    for number in range(20):
        files.create(tree, parent, b"new%d" % number, 0o644, ROOT)
    assert len(tree.names) <= 10
    assert is_shown(tree, "d7/new19")
    assert not is_shown(tree, "d7/new20")
