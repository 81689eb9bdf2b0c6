"""What stat, statfs, access and mknod tell and make."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.trees import block_device, character_device, directory, fifo, file, socket_file, symlink
from tests.harness.trial import Trial

pytestmark = pytest.mark.root

EVERYTHING = {
    "file": file(b"content", mode=0o640, uid=11, gid=22),
    "empty": file(mode=0),
    "d": directory(0o1751, uid=33, gid=44),
    "symlink": symlink("file", uid=5, gid=6),
    "dangling": symlink("nowhere"),
    "fifo": fifo(0o620, gid=9),
    "socket": socket_file(0o755),
    "null": character_device(1, 3, 0o666),
    "loop": block_device(7, 99, 0o660, gid=6),
    "big-number": character_device(300, 70_000, 0o600),
    "ids": file(uid=4_000_000_000, gid=4_294_967_294),
}


def test_a_mount_shows_the_base_as_it_is(bench: Workbench) -> None:
    bench.compare(EVERYTHING)


def test_every_kind_of_node_can_be_made(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for label, kind in (("file", 0o100000), ("fifo", 0o010000), ("socket", 0o140000)):
            trial.attempt(label, os.mknod, trial.path(label), kind | 0o640)
            trial.attempt(f"{label} again", os.mknod, trial.path(label), kind | 0o640)
        for label, kind, major, minor in (
            ("character", 0o020000, 1, 3),
            ("block", 0o060000, 7, 99),
            ("large", 0o020000, 300, 70_000),
        ):
            trial.attempt(label, os.mknod, trial.path(label), kind | 0o600, os.makedev(major, minor))
        trial.attempt("directory by mknod", os.mknod, trial.path("x"), 0o040755)
        trial.attempt("link by mknod", os.mknod, trial.path("y"), 0o120777)

    bench.compare({}, operations)


def test_chmod_chown_and_utime_of_every_kind(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for name in EVERYTHING:
            path = trial.path(name)
            if name not in ("symlink", "dangling"):
                trial.attempt(f"{name} chmod", os.chmod, path, 0o604)
            trial.attempt(f"{name} chown", os.chown, path, 100, 200, follow_symlinks=False)
            trial.attempt(f"{name} chown group", os.chown, path, -1, 300, follow_symlinks=False)
            trial.attempt(f"{name} utime", os.utime, path, ns=(1, 2), follow_symlinks=False)
            trial.attempt(f"{name} truncate", os.truncate, path, 2)
        trial.attempt("root", os.chmod, trial.path(), 0o750)
        trial.attempt("root owner", os.chown, trial.path(), 8, 9)

    bench.compare(EVERYTHING, operations)


def test_every_kind_can_be_moved_linked_and_removed(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for name in EVERYTHING:
            if name != "d":
                trial.attempt(f"{name} link", os.link, trial.path(name), trial.path(f"d/{name}"), follow_symlinks=False)
                trial.attempt(f"{name} rename", os.rename, trial.path(name), trial.path(f"{name}-moved"))
                trial.attempt(f"{name} unlink", os.unlink, trial.path(f"{name}-moved"))

    bench.compare(EVERYTHING, operations)


def test_statfs_tells_of_the_layers_file_system(bench: Workbench) -> None:
    mount = bench.mounted(EVERYTHING)
    below, seen = os.statvfs(bench.place), os.statvfs(mount.path)
    assert seen.f_namemax == 255
    assert seen.f_blocks * seen.f_frsize == below.f_blocks * below.f_frsize
    before = seen.f_bavail * seen.f_frsize
    actions.create(mount.path + b"/big", b"x" * (16 << 20))
    after = os.statvfs(mount.path)
    assert before - after.f_bavail * after.f_frsize >= 15 << 20
    os.unlink(mount.path + b"/big")


def test_the_block_size_is_large_enough_for_fast_writes(bench: Workbench) -> None:
    mount = bench.mounted(EVERYTHING)
    assert os.stat(mount.path + b"/file").st_blksize >= 4096


def test_access_through_symlinks_stays_inside(bench: Workbench) -> None:
    """Links are the caller's to follow: an absolute one leads out of the mount as on any file system."""

    def operations(trial: Trial) -> None:
        os.symlink(b"/proc/self/comm", trial.path("absolute"))
        os.symlink(b"../../../../../../../proc/self/comm", trial.path("dots"))
        trial.attempt("absolute", actions.read, trial.path("absolute"))
        trial.attempt("dots", actions.read, trial.path("dots"))
        trial.attempt("open without following", os.open, trial.path("absolute"), os.O_NOFOLLOW)

    bench.compare({}, operations)


def test_statx_tells_a_birth_time_or_says_that_it_cannot(bench: Workbench) -> None:
    mount = bench.mounted(EVERYTHING)
    said = subprocess.run(["stat", "-c", "%W", mount.path + b"/file"], capture_output=True, check=True).stdout
    assert int(said) >= 0
