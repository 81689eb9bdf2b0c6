"""What a user is told when mounting does not work: one sentence that names the cause."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from cowfs.fuse import device
from cowfs.fuse.device import MountError, MountOptions


def test_the_mount_point_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=r"the mount point .*/nowhere does not exist"):
        device.mount(tmp_path / "nowhere", MountOptions())


def test_the_mount_point_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MountError, match="is not a directory"):
        device.mount(tmp_path / "file", MountOptions())


@pytest.mark.parametrize("as_root", [True, False])
def test_there_is_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_root: bool) -> None:
    monkeypatch.setattr(device, "DEVICE", str(tmp_path / "fuse"))
    monkeypatch.setattr(device, "HELPER", "true")
    monkeypatch.setattr(os, "geteuid", lambda: 0 if as_root else 1000)
    with pytest.raises(MountError, match="fuse is missing: the kernel has no FUSE, or the container"):
        device.mount(tmp_path, MountOptions())


def test_the_device_is_closed_to_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(MountError, match="may not be opened by user 0"):
        device.mount(tmp_path, MountOptions())


def test_the_helper_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MountError, match=r"fusermount3 is missing.*apt install fuse3"):
        device.mount(tmp_path, MountOptions())


@pytest.mark.parametrize(
    ("helper_says", "user_reads"),
    [
        (
            "option allow_other only allowed if 'user_allow_other' is set in /etc/fuse.conf",
            "allow_other needs the line",
        ),
        ("user has no write access to mountpoint /mnt", "must be a directory that you may write to"),
        ("failed to open /dev/fuse: Permission denied", "/dev/fuse may not be opened by user"),
        ("something new", "cannot mount on .*: something new"),
    ],
)
def test_the_helpers_refusals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helper_says: str, user_reads: str
) -> None:
    helper = tmp_path / "fusermount3"
    helper.write_text(f'#!/bin/sh\necho "fusermount3: {helper_says}" >&2\nexit 1\n')
    helper.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MountError, match=user_reads):
        device.mount(tmp_path, MountOptions(allow_other=True))


def test_options_reach_the_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper, seen = tmp_path / "fusermount3", tmp_path / "seen"
    helper.write_text(f'#!/bin/sh\necho "$@" >{seen}\nexit 1\n')
    helper.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(MountError):
        device.mount(tmp_path, MountOptions(source="a,b", nosuid=True, read_only=True))
    words = seen.read_text().split()
    assert words == ["-o", "fsname=a\\,b,subtype=cowfs,default_permissions,ro,nosuid", "--", str(tmp_path)]


@pytest.mark.root
def test_nothing_to_unmount(tmp_path: Path) -> None:
    with pytest.raises(MountError, match="nothing is mounted on"):
        device.unmount(tmp_path)


@pytest.mark.root
@pytest.mark.usefixtures("scratch")
def test_source_and_type_show_in_the_mount_table(tmp_path: Path) -> None:
    mounted = device.mount(tmp_path, MountOptions(source="the base", noexec=True))
    try:
        table = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", str(tmp_path)], check=True, capture_output=True
        )
        words = table.stdout.decode().split()
        assert words[:3] == ["the", "base", "fuse.cowfs"]
        assert "noexec" in words[3].split(",")
    finally:
        mounted.unmount(lazy=True)
        mounted.close()


@pytest.mark.root
def test_a_mount_that_was_never_settled_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = tmp_path / "stages"
    mountpoint = tmp_path / "mountpoint"
    for path in (stages, mountpoint):
        path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(stages))
    mounted = device.mount(mountpoint, MountOptions(), staged=True)
    assert mounted.stage in list(stages.iterdir())
    assert not os.path.ismount(mountpoint)
    mounted.close()
    assert not list(stages.iterdir())
