"""The `cowfs` command as a user meets it: what it says of itself, what can be mounted where, and with which options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cowfs import __version__
from tests.command.ground import Ground
from tests.harness import actions, syscalls
from tests.harness.command import cowfs, cowfs_command, unmount, wait_until
from tests.harness.trees import file, make_tree


def test_help_reads_well_and_mentions_every_option() -> None:
    done = cowfs("--help")
    assert done.returncode == 0
    for word in ("BASE", "MOUNTPOINT", "--layer", "--engine", "-o", "umount", "--sync", "lowerdir"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.parametrize("module", ["cowfs", "builder"])
def test_both_commands_say_their_version(module: str) -> None:
    said = subprocess.check_output([sys.executable, "-m", module, "--version"], text=True)
    assert said.split() == [{"cowfs": "cowfs", "builder": "cowbuild"}[module], __version__]


@pytest.mark.root
def test_it_returns_when_the_mount_is_usable_and_umount_ends_it(ground: Ground) -> None:
    done = ground.run(ground.base, ground.point)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert (ground.point / "file").read_bytes() == b"content"
    (ground.point / "new").write_bytes(b"new")
    unmount(ground.point)
    wait_until(lambda: os.listdir(ground.temporary) == [])
    assert os.listdir(ground.point) == []
    assert sorted(os.listdir(ground.base)) == ["d", "file"]


@pytest.mark.root
def test_a_temporary_layer_is_gone_after_unmount_and_a_kept_one_is_not(ground: Ground) -> None:
    for arguments, kept in (((), False), (("--layer", ground.layer), True)):
        assert ground.run(*arguments, ground.base, ground.point).returncode == 0
        (ground.point / "new").write_bytes(b"new")
        unmount(ground.point)
        wait_until(lambda: os.listdir(ground.temporary) == [])
        wait_until(lambda: ground.run(*arguments, ground.base, ground.point).returncode == 0)  # noqa: B023
        assert (ground.point / "new").exists() == kept
        unmount(ground.point)


@pytest.mark.root
@pytest.mark.parametrize("inside", [".", "d"])
def test_a_base_mounted_over_itself_works_and_does_not_hang(ground: Ground, inside: str) -> None:
    point = (ground.base / inside).resolve()
    assert ground.run(ground.base, point).returncode == 0
    assert (point / "file").read_bytes() == b"content"
    (point / "file").write_bytes(b"changed")
    (point / "d/new").write_bytes(b"new")
    assert sorted(os.listdir(point)) == ["d", "file"]
    unmount(point)


@pytest.mark.root
def test_options_as_mount_and_overlayfs_have_them(ground: Ground) -> None:
    lower = ground.point.parent / "lower"
    make_tree(str(lower), {"low": file(b"low"), "file": file(b"hidden")})
    upper, work = ground.point.parent / "upper", ground.point.parent / "work"
    upper.mkdir()
    work.mkdir()
    options = f"lowerdir={ground.base}:{lower},upperdir={upper},workdir={work},allow_other,nosuid,nodev,noatime"
    assert ground.run("-o", options, "none", ground.point).returncode == 0
    assert (ground.point / "low").read_bytes() == b"low"
    assert (ground.point / "file").read_bytes() == b"content"
    (ground.point / "low").write_bytes(b"changed")
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if f" {ground.point} " in line)
    assert " fuse.cowfs " in line
    for word in ("nosuid", "nodev", "noatime", "allow_other", "default_permissions"):
        assert word in line
    unmount(ground.point)
    assert (upper / "low").read_bytes() == b"changed"
    assert (lower / "low").read_bytes() == b"low"


@pytest.mark.root
def test_mount_8_finds_it_by_type(ground: Ground) -> None:
    """`mount -t fuse.cowfs` runs mount.fuse3, which runs the cowfs it finds in a PATH of its own."""
    launcher = ground.point.parent / "cowfs"
    launcher.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in cowfs_command()) + ' "$@"\n')
    launcher.chmod(0o755)
    script = """
        set -e
        mount -t tmpfs none /usr/local/bin
        cp "$1" /usr/local/bin/cowfs
        mount -t fuse.cowfs -o "layer=$4,nosuid" "$2" "$3"
        cat "$3/file"
        echo changed > "$3/file"
        umount "$3"
    """
    command = ["unshare", "-m", "sh", "-c", script, "sh", launcher, ground.base, ground.point, ground.layer]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "content", "")
    assert (ground.layer / "upper/file").read_text() == "changed\n"


@pytest.mark.root
def test_a_read_only_mount_takes_no_change(ground: Ground) -> None:
    assert ground.run("-o", "ro", ground.base, ground.point).returncode == 0
    path = os.fsencode(ground.point)
    assert actions.read(path + b"/file") == b"content"
    for call in (
        lambda: actions.append(path + b"/file", b"x"),
        lambda: actions.create(path + b"/new"),
        lambda: os.unlink(path + b"/file"),
        lambda: os.chmod(path + b"/file", 0o600),
        lambda: os.rename(path + b"/file", path + b"/moved"),
        lambda: os.setxattr(path + b"/file", "user.a", b"1"),
    ):
        assert actions.error_of(call) == "EROFS"
    unmount(ground.point)


@pytest.mark.root
def test_paths_with_colons_commas_and_spaces(place: Path) -> None:
    base, point, layer = (place / name for name in ("a:b, c\\d", "mount, point: \\x", "lay,er:"))
    make_tree(str(base), {"file": file(b"odd")})
    point.mkdir()
    escaped = str(base).replace("\\", "\\\\").replace(":", "\\:")
    done = cowfs("--layer", layer, escaped, point)
    assert (done.returncode, done.stderr) == (0, "")
    assert (point / "file").read_bytes() == b"odd"
    syscalls.umount(str(point))
