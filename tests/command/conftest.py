"""The ground of each test of the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command.ground import Ground, as_plain_user
from tests.harness import syscalls
from tests.harness.command import cowfs_command, is_mounted
from tests.harness.snapshot import differences, snapshot
from tests.harness.trees import file, make_tree


@pytest.fixture
def ground(place: Path) -> Iterator[Ground]:
    made = Ground(place / "base", place / "mnt", place / "layer", place / "tmp")
    make_tree(str(made.base), {"file": file(b"content"), "d/inside": file(b"inside")})
    for path in (made.point, made.temporary):
        path.mkdir()
    before = snapshot(str(made.base), exact=True)
    yield made
    while is_mounted(made.point):
        syscalls.umount(str(made.point), syscalls.MNT_DETACH)
    assert differences(before, snapshot(str(made.base), exact=True)) == []


@pytest.fixture
def readable_python() -> list[str]:
    """A command for plain users: the interpreter of the tests may lie in root's home."""
    command = cowfs_command()
    try:
        usable = as_plain_user([*command, "--help"]).returncode == 0
    except PermissionError:
        usable = False
    if not usable:
        pytest.skip(f"a plain user cannot run {command[0]}")
    return command
