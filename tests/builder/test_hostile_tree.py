"""Reading and writing in a tree that others filled: through no link, and no descriptor is lost."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from builder import hostile_tree, interrupts
from builder.problems import Interrupted


def test_what_is_put_before_a_file_changes_nothing_else_of_it(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("old\n")
    (tmp_path / "passwd").chmod(0o640)
    (tmp_path / "link").symlink_to("passwd")
    number = (tmp_path / "passwd").stat().st_ino
    with hostile_tree.directory(tmp_path, "") as place:
        hostile_tree.prepend(place, "passwd", b"new\n", 100)
        with pytest.raises(OSError, match="symbolic link"):
            hostile_tree.prepend(place, "link", b"new\n", 100)
        with pytest.raises(OSError, match="larger than"):
            hostile_tree.prepend(place, "passwd", b"new\n", 3)
    assert (tmp_path / "passwd").read_text() == "new\nold\n"
    status = (tmp_path / "passwd").stat()
    assert (status.st_ino, stat.S_IMODE(status.st_mode)) == (number, 0o640)


def test_copying_in_never_writes_through_a_link(tmp_path: Path) -> None:
    ours, root = tmp_path / "ours", tmp_path / "root"
    ours.write_text("new")
    root.mkdir()
    (tmp_path / "precious").write_text("old")
    (root / "name").symlink_to(tmp_path / "precious")
    with hostile_tree.directory(root, "") as place, pytest.raises(FileExistsError):
        hostile_tree.copy_in(ours, place, "name")
    assert (tmp_path / "precious").read_text() == "old"


def test_a_directory_is_made_beneath_and_through_no_link(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    before = os.umask(0o077)
    try:
        hostile_tree.make_directory(root, "a/b", (os.getuid(), os.getgid()))
        hostile_tree.make_directory(root, "a/b", (os.getuid(), os.getgid()))
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "a").stat().st_mode) == stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755
    (root / "link").symlink_to(elsewhere)
    with pytest.raises(OSError, match="link"):
        hostile_tree.make_directory(root, "link/b", (os.getuid(), os.getgid()))
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("step", range(1, 20))
def test_a_signal_while_a_directory_is_opened_loses_no_descriptor(tmp_path: Path, step: int) -> None:
    """Raised by a trace function, as Python raises from a signal's handler: before any line."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    steps = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal steps
        if frame.f_code.co_filename != hostile_tree.__file__:
            return None
        steps += event == "line"
        if event == "line" and steps == step:
            interrupts.interrupt(2)
        return trace

    before = os.listdir("/proc/self/fd")
    former = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(Interrupted), hostile_tree.directory(tmp_path, "a/b/c"):
            sys.settrace(former)
            assert steps < step
    finally:
        sys.settrace(former)
    assert os.listdir("/proc/self/fd") == before
