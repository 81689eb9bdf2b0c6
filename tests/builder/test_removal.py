"""Directories are removed whatever a build made of them; what is mounted in them stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.grounds import ground
from builder.removal import remove
from tests.harness import syscalls
from tests.harness.users import as_user

USER = 58231


@pytest.fixture
def btrfs(scratch: Path) -> Iterator[Path]:
    with ground("btrfs", scratch / "btrfs") as here:
        here.chmod(0o777)
        yield here


@pytest.mark.parametrize("uid", [0, USER])
def test_subvolumes_go_with_the_directory_that_they_are_in(btrfs: Path, uid: int) -> None:
    def make_and_remove() -> bool:
        directory = btrfs / "session"
        (directory / "own").mkdir(parents=True)
        for path in ("own/sub", "own/sub/be low", "own/sub/be low/nested"):
            subprocess.run(["btrfs", "-q", "subvolume", "create", directory / path], check=True)
            (directory / path / "file").touch()
        subprocess.run(["btrfs", "property", "set", directory / "own/sub/be low", "ro", "true"], check=True)
        return remove(directory)

    assert as_user(make_and_remove, uid) if uid else make_and_remove()
    assert list(btrfs.iterdir()) == []


@pytest.mark.root
def test_what_is_mounted_stays(tmp_path: Path) -> None:
    directory = tmp_path / "session"
    (directory / "mounted").mkdir(parents=True)
    (directory / "file").touch()
    subprocess.run(["mount", "-n", "-t", "tmpfs", "none", directory / "mounted"], check=True)
    try:
        (directory / "mounted/mine").touch()
        assert not remove(directory)
        assert (directory / "mounted/mine").exists()
        assert not (directory / "file").exists()
    finally:
        syscalls.umount(str(directory / "mounted"))
    assert remove(directory)
    assert not directory.exists()
