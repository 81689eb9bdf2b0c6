"""A plain user, for whom fusermount3 mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.command.ground import as_plain_user, plain_user_ground, refused
from tests.harness.command import is_locked, is_mounted, wait_until
from tests.harness.users import fuse_device_for_everybody


@pytest.mark.root
def test_a_plain_user_mounts_and_unmounts_with_fusermount3(place: Path, readable_python: list[str]) -> None:
    base, point, _ = plain_user_ground(place)
    with fuse_device_for_everybody():
        done = as_plain_user([*readable_python, str(base), str(point)])
        assert (done.returncode, done.stderr) == (0, "")
        assert is_mounted(point)
        assert as_plain_user(["cat", str(point / "file")]).stdout == "content"
        assert as_plain_user(["sh", "-c", f"echo new > {point}/new && mv {point}/file {point}/moved"]).returncode == 0
        assert as_plain_user(["fusermount3", "-u", str(point)]).returncode == 0
        wait_until(lambda: not is_mounted(point))
    assert os.listdir(base) == ["file"]


@pytest.mark.root
def test_a_plain_user_without_rights_gets_the_reason(place: Path, readable_python: list[str]) -> None:
    base, point, _ = plain_user_ground(place)
    os.chmod("/dev/fuse", 0o600)
    refused(as_plain_user([*readable_python, "-f", str(base), str(point)]), "/dev/fuse")
    with fuse_device_for_everybody():
        refused(as_plain_user([*readable_python, "-f", str(base), str(point)], path="/nonexistent"), "fusermount3")


@pytest.mark.root
def test_where_the_callers_children_are_nobodys_the_helpers_failure_is_heard(
    place: Path, readable_python: list[str]
) -> None:
    base, point, _ = plain_user_ground(place)
    os.chown(point, 0, 0)
    ignoring = ["sh", "-c", 'trap "" CHLD && exec "$@"', "sh", *readable_python, str(base), str(point)]
    with fuse_device_for_everybody():
        refused(as_plain_user(ignoring), "may write")


@pytest.mark.root
def test_a_plain_users_daemon_lets_go_of_its_callers_lock_and_pipe(place: Path, readable_python: list[str]) -> None:
    base, point, temporary = plain_user_ground(place)
    script = f'(flock 9; "$@") 9>{temporary}/lock | cat'
    with fuse_device_for_everybody():
        done = as_plain_user(["sh", "-c", script, "sh", *readable_python, str(base), str(point)])
        assert (done.returncode, done.stderr) == (0, "")
        assert not is_locked(temporary / "lock")
        assert as_plain_user(["fusermount3", "-u", str(point)]).returncode == 0
