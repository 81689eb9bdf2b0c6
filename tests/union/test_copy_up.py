"""Copy-up in steps, and what is left when it fails."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from cowfs.union import attrs, copying, copyup, data, files
from cowfs.union.attrs import Changes
from cowfs.union.copyup import CopyUpNeeded
from tests.union.conftest import ROOT, MakeTree, directory, find

LARGE = b"0123456789abcdef" * 4096


def _base(tmp_path: Path) -> None:
    (tmp_path / "base/d").mkdir(parents=True)
    (tmp_path / "base/d/large").write_bytes(LARGE)


def test_a_large_copy_up_is_refused_before_anything_changes_and_done_in_steps(
    tmp_path: Path, make_tree: MakeTree
) -> None:
    _base(tmp_path)
    tree = make_tree("base")
    tree.copy_ups.inline_limit = 4096
    node = find(tree, "d/large")
    with pytest.raises(CopyUpNeeded) as needed:
        data.write(tree, node, 0, b"x", None)
    assert needed.value.node is node
    assert os.listdir(tmp_path / "upper") == os.listdir(tmp_path / "work/staging") == []
    job = copyup.begin(tree, node)
    job.copy()
    assert bytes(data.read(tree, node, 0, 16)) == LARGE[:16]
    job.commit()
    data.write(tree, node, 0, b"x", None)
    assert (tmp_path / "upper/d/large").read_bytes() == b"x" + LARGE[1:]
    assert os.listdir(tmp_path / "work/staging") == []


def test_a_job_whose_file_was_removed_meanwhile_keeps_it_for_who_has_it_open(
    tmp_path: Path, make_tree: MakeTree
) -> None:
    _base(tmp_path)
    tree = make_tree("base")
    node = find(tree, "d/large")
    job = copyup.begin(tree, node)
    assert node.parent is not None
    files.unlink(tree, node.parent, b"large")
    job.copy()
    job.commit()
    data.write(tree, node, 0, b"x", None)
    assert bytes(data.read(tree, node, 0, 2)) == b"x1"
    assert stat.S_ISCHR(os.lstat(tmp_path / "upper/d/large").st_mode)


def test_a_job_whose_file_was_truncated_meanwhile_changes_nothing(tmp_path: Path, make_tree: MakeTree) -> None:
    _base(tmp_path)
    tree = make_tree("base")
    node = find(tree, "d/large")
    job = copyup.begin(tree, node)
    job.copy()
    attrs.set_attributes(tree, node, Changes(size=3))
    job.commit()
    assert (tmp_path / "upper/d/large").read_bytes() == LARGE[:3]
    assert os.listdir(tmp_path / "work/staging") == []


def test_a_failing_copy_up_leaves_nothing_behind(
    tmp_path: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle of the content; real ones are in tests/mount/test_faults.py."""
    _base(tmp_path)
    tree = make_tree("base")
    node = find(tree, "d/large")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(copying, "_copy_range", full)
    with pytest.raises(OSError, match="No space") as failed:
        data.write(tree, node, 0, b"x", None)
    assert failed.value.errno == errno.ENOSPC
    assert os.listdir(tmp_path / "work/staging") == []
    assert not node.upper
    monkeypatch.undo()
    data.write(tree, node, 0, b"x", None)
    assert (tmp_path / "upper/d/large").read_bytes()[:2] == b"x1"


def test_truncating_copies_no_more_than_is_kept(tmp_path: Path, make_tree: MakeTree) -> None:
    _base(tmp_path)
    tree = make_tree("base")
    tree.copy_ups.inline_limit = 100
    attrs.set_attributes(tree, find(tree, "d/large"), Changes(size=10))
    assert (tmp_path / "upper/d/large").read_bytes() == LARGE[:10]


def test_holes_stay_holes(tmp_path: Path, make_tree: MakeTree) -> None:
    (tmp_path / "base").mkdir()
    with (tmp_path / "base/sparse").open("wb") as sparse:
        sparse.seek(8 << 20)
        sparse.write(b"end")
        sparse.truncate(16 << 20)
    tree = make_tree("base")
    attrs.set_attributes(tree, find(tree, "sparse"), Changes(mode=0o600))
    copied = (tmp_path / "upper/sparse").stat()
    assert copied.st_size == 16 << 20
    assert copied.st_blocks * 512 < 1 << 20
    assert (tmp_path / "upper/sparse").read_bytes()[8 << 20 :][:3] == b"end"


def test_copying_up_keeps_metadata_and_the_parents_times(tmp_path: Path, make_tree: MakeTree) -> None:
    _base(tmp_path)
    os.setxattr(tmp_path / "base/d/large", "user.note", b"x" * 300)
    (tmp_path / "base/d/large").chmod(0o4711)
    for path in ("d/large", "d", "."):
        os.utime(tmp_path / "base" / path, ns=(1_500_000_000_123_456_789, 1_400_000_000_987_654_321))
    os.utime(tmp_path / "base", ns=(1, 1))
    tree = make_tree("base")
    os.utime(tmp_path / "upper", ns=(1, 1))
    attrs.set_attributes(tree, find(tree, "d/large"), Changes(atime_ns=7))
    copied = (tmp_path / "upper/d/large").stat()
    assert (copied.st_mode & 0o7777, copied.st_mtime_ns) == (0o4711, 1_400_000_000_987_654_321)
    assert os.getxattr(tmp_path / "upper/d/large", "user.note") == b"x" * 300
    assert (tmp_path / "upper/d").stat().st_mtime_ns == 1_400_000_000_987_654_321
    assert (tmp_path / "upper").stat().st_mtime_ns == 1


def test_what_is_copied_into_a_directory_moves_its_times_no_more_than_the_first(
    tmp_path: Path, make_tree: MakeTree
) -> None:
    """It is asked for its times before the first copy, and after each real change: these are what then stays."""
    (tmp_path / "base/d").mkdir(parents=True)
    for name in "abcde":
        (tmp_path / f"base/d/{name}").write_text(name)
    os.utime(tmp_path / "base/d", ns=(1, 2))
    tree = make_tree("base")
    parent = directory(find(tree, "d"))

    def copy_up_and_compare(name: str) -> None:
        before = attrs.get_attributes(tree, parent)
        copyup.copy_up(tree, find(tree, f"d/{name}"))
        assert attrs.get_attributes(tree, parent) == before
        assert (tmp_path / "upper/d").stat().st_mtime_ns == before.mtime_ns

    copy_up_and_compare("a")
    copy_up_and_compare("b")
    base_times = attrs.get_attributes(tree, parent)
    files.create(tree, parent, b"new", 0o644, ROOT)
    created = attrs.get_attributes(tree, parent)
    assert created.mtime_ns > base_times.mtime_ns
    assert created.ctime_ns > base_times.ctime_ns
    copy_up_and_compare("c")
    attrs.set_attributes(tree, parent, Changes(mtime_ns=77))
    copy_up_and_compare("d")
    files.unlink(tree, parent, b"new")
    assert attrs.get_attributes(tree, parent).mtime_ns > 77
    copy_up_and_compare("e")
