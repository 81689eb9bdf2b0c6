"""`--quota`: what a session may write, on both engines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.command import wait_until
from tests.harness.mounts import Mount
from tests.harness.snapshot import snapshot
from tests.harness.trees import Description, file, link_to
from tests.tools.command import cowfs_forked

pytestmark = pytest.mark.root

MIB = 1 << 20


@pytest.fixture
def limited(bench: Workbench) -> Callable[[Description, str], Mount]:
    def mount(description: Description, quota: str) -> Mount:
        made = bench.mount(bench.base(description), start=False)
        made.options = [*made.options, "--quota", quota]
        made.start()
        return made

    return mount


def _free(mount: Mount) -> int:
    status = os.statvfs(mount.point)
    return status.f_bavail * status.f_frsize


def _is_full(call: Callable[[], object]) -> bool:
    return actions.error_of(call) == "ENOSPC"


def test_the_limit_is_reached_and_what_is_removed_counts_back(limited: Callable[[Description, str], Mount]) -> None:
    mount = limited({"a": file(b"x")}, "4M")
    point = mount.point
    (point / "one").write_bytes(b"1" * 3 * MIB)
    assert _is_full(lambda: (point / "two").write_bytes(b"2" * 2 * MIB))
    (point / "two").unlink()
    assert _is_full(lambda: (point / "two").write_bytes(b"2" * 2 * MIB))
    (point / "one").unlink()
    (point / "two").unlink()
    for _ in range(3):
        (point / "two").write_bytes(b"2" * 3 * MIB)
    assert (point / "two").read_bytes() == b"2" * 3 * MIB
    os.truncate(point / "two", 0)
    (point / "three").write_bytes(b"3" * 3 * MIB)


def test_df_shows_the_limit_and_what_is_left(limited: Callable[[Description, str], Mount]) -> None:
    mount = limited({"a": file(b"x")}, "4M,100")
    whole = os.statvfs(mount.point)
    assert whole.f_blocks * whole.f_frsize == 4 * MIB
    assert whole.f_files == 100
    before = _free(mount)
    (mount.point / "file").write_bytes(b"x" * MIB)
    assert before - _free(mount) == MIB
    (mount.point / "file").unlink()
    wait_until(lambda: _free(mount) == before)  # the kernel tells of the last close a moment later


def test_sparse_files_and_hard_links_count_what_they_occupy(limited: Callable[[Description, str], Mount]) -> None:
    mount = limited({"big": file(b"b" * MIB), "name": link_to("big"), "other": file(b"o" * MIB)}, "3M")
    point = mount.point
    os.truncate(point / "other", 0)
    with (point / "sparse").open("wb") as sparse:
        sparse.truncate(100 * MIB)
        sparse.seek(50 * MIB)
        sparse.write(b"x")
    (point / "big").chmod(0o600)  # copied up: one mebibyte, for both names
    assert (point / "name").stat().st_mode & 0o777 == 0o600
    for number in range(10):
        os.link(point / "big", point / f"link{number}")
    assert 2 * MIB - 64 * 1024 < _free(mount) <= 2 * MIB
    (point / "more").write_bytes(b"x" * (MIB + MIB // 2))
    assert _is_full(lambda: (point / "rest").write_bytes(b"x" * MIB))


def test_a_full_layer_can_be_overwritten_and_emptied(limited: Callable[[Description, str], Mount]) -> None:
    mount = limited({"d/base": file(b"x")}, "1M")
    path = os.fsencode(mount.point / "file")
    actions.create(path, b"x" * (MIB // 2))
    with actions.opened(path, os.O_WRONLY) as descriptor:
        assert _is_full(lambda: [os.pwrite(descriptor, b"y" * 65536, MIB // 2 + 65536 * n) for n in range(20)])
    assert actions.write(path, b"z" * 4096) == 4096
    assert actions.read(path)[:4096] == b"z" * 4096
    (mount.point / "d/base").unlink()
    (mount.point / "d").rmdir()
    os.unlink(path)
    assert list(snapshot(mount.path)) == [b"."]


def test_a_number_of_files_can_be_the_limit(limited: Callable[[Description, str], Mount]) -> None:
    mount = limited({"d/base": file(b"x")}, ",20")
    created = 0
    while not _is_full((mount.point / f"file{created}").mkdir):
        created += 1
        assert created < 20
    assert created > 10
    (mount.point / "file0").rmdir()
    (mount.point / "again").touch()


def test_a_copy_up_that_does_not_fit_is_refused_and_changes_nothing(
    limited: Callable[[Description, str], Mount],
) -> None:
    mount = limited({"small": file(b"x" * 200_000), "large": file(b"x" * 3 * MIB)}, "1M")
    assert _is_full(lambda: actions.append(os.fsencode(mount.point / "large"), b"y"))
    assert (mount.point / "large").stat().st_size == 3 * MIB
    actions.append(os.fsencode(mount.point / "small"), b"y")


def test_a_layer_mounted_again_counts_what_it_has(limited: Callable[[Description, str], Mount]) -> None:
    mount = limited({"a": file(b"x")}, "4M")
    (mount.point / "one").write_bytes(b"1" * 3 * MIB)
    left = _free(mount)
    mount.remount()
    assert _free(mount) == left
    assert _is_full(lambda: (mount.point / "two").write_bytes(b"2" * 2 * MIB))


def test_many_small_writes_are_not_counted_many_times(limited: Callable[[Description, str], Mount]) -> None:
    mount = limited({"a": file(b"x")}, "1M")
    started = time.monotonic()
    with actions.opened(os.fsencode(mount.point / "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND) as descriptor:
        for _ in range(2000):
            os.write(descriptor, b"x" * 100)
    assert time.monotonic() - started < 30
    assert (mount.point / "log").stat().st_size == 200_000


@pytest.mark.parametrize("text", ["", ",", "much", "4X", "4G,many", "-1", "1,2,3"])
def test_what_is_no_quota_is_said(place: Path, text: str) -> None:
    done = cowfs_forked(f"--quota={text}", place, place)
    assert done.returncode == 2
    assert "is no quota" in done.stderr
