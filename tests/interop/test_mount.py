"""mount(8), fstab, systemd's mount units and findmnt(8), unmodified."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from cowfs.fuse.statistics import read_statistics
from tests.harness import actions
from tests.interop.conftest import Machine

pytestmark = pytest.mark.root


@pytest.fixture
def ground(place: Path) -> Path:
    """A directory with a base, `base`, and a mount point, `mnt`."""
    (place / "base").mkdir()
    (place / "mnt").mkdir()
    (place / "base/file").write_text("of the base")
    return place


def test_mount_mounts_a_base_with_a_layer_and_findmnt_shows_both(machine: Machine, ground: Path) -> None:
    base, point, layer = ground / "base", ground / "mnt", ground / "layer"
    machine.output("mount", "-t", "fuse.cowfs", base, point, "-o", f"layer={layer},nosuid")
    (point / "file").write_text("changed")
    shown = machine.output("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE,OPTIONS", "--mtab", point)
    assert str(base) in shown
    assert "fuse.cowfs" in shown
    assert {"rw", "nosuid", f"x-cowfs.layer={layer}"} <= set(shown.split()[-1].split(","))
    machine.output("umount", point)
    assert (base / "file").read_text() == "of the base"
    machine.output("mount", "-t", "fuse.cowfs", base, point, "-o", f"layer={layer},ro")
    assert (point / "file").read_text() == "changed"
    machine.output("umount", point)
    assert "cowfs" not in Path("/run/mount/utab").read_text()


def test_a_mount_by_root_is_open_to_everybody_as_the_modes_say(machine: Machine, ground: Path) -> None:
    point = ground / "mnt"
    machine.output("mount", "-t", "fuse.cowfs", ground / "base", point)
    reader = ("setpriv", "--reuid=65534", "--clear-groups", "--")
    assert machine.output(*reader, "cat", point / "file") == "of the base"
    assert machine.run(*reader, "touch", point / "new").returncode != 0
    machine.output("umount", point)


def test_the_daemon_keeps_no_mount_busy_that_its_base_lies_on(machine: Machine, ground: Path) -> None:
    """As schroot does: it unmounts it as soon as the layer is free, which the daemon may outlive by a moment."""
    point, bound = ground / "mnt", ground / "bound"
    bound.mkdir()
    machine.output("mount", "--bind", ground / "base", bound)
    machine.output("mount", "-t", "fuse.cowfs", bound, point)
    machine.output("umount", bound)
    assert (point / "file").read_text() == "of the base"
    machine.output("umount", point)


def test_overlayfs_options_are_understood(machine: Machine, ground: Path) -> None:
    point, top = ground / "mnt", ground / "top"
    top.mkdir()
    (top / "above").write_text("above")
    options = f"lowerdir={top}:{ground}/base,upperdir={ground}/up,workdir={ground}/work"
    machine.output("mount", "-t", "fuse.cowfs", "union", point, "-o", options)
    (point / "new").write_text("new")
    assert sorted(os.listdir(point)) == ["above", "file", "new"]
    shown = machine.output("findmnt", "--noheadings", "--mtab", point)
    assert f"{top}:{ground}/base" in shown
    assert f"x-cowfs.upperdir={ground}/up" in shown
    machine.output("umount", point)
    assert os.listdir(ground / "up") == ["new"]


def test_a_line_of_fstab_mounts_by_its_mount_point(machine: Machine, ground: Path) -> None:
    fstab = ground / "fstab"
    options = f"layer={ground}/layer,noauto,nodev,x-systemd.automount"
    fstab.write_text(f"{ground}/base {ground}/mnt fuse.cowfs {options} 0 0\n")
    machine.output("mount", "-T", fstab, ground / "mnt")
    (ground / "mnt/new").write_text("new")
    machine.output("umount", ground / "mnt")
    assert (ground / "layer/upper/new").exists()


def test_a_mount_unit_of_systemd_is_right(machine: Machine, ground: Path) -> None:
    """The unit of docs/mount.md, as it is there."""
    page = (Path(__file__).parents[2] / "docs/mount.md").read_text()
    unit = ground / "srv-sid.mount"
    unit.write_text("[Unit]" + page.split("[Unit]")[1].split("\n\n    #")[0].replace("\n    ", "\n") + "\n")
    assert "Type=fuse.cowfs" in unit.read_text()
    assert machine.output("systemd-analyze", "verify", "--man=no", unit) == ""


@pytest.mark.parametrize(
    ("base", "options", "code", "said"),
    [
        ("no-such-base", "nosuid", 32, "does not exist"),
        ("base", "nonsense", 1, "nonsense is no option"),
        ("base", "layer=base", 32, "lies inside the base"),
    ],
)
def test_what_cannot_be_mounted_is_said_with_the_exit_code_of_mount(
    machine: Machine, ground: Path, base: str, options: str, code: int, said: str
) -> None:
    done = machine.run("mount", "-t", "fuse.cowfs", base, "mnt", "-o", options, place=ground)
    assert done.returncode == code
    assert said in done.stdout
    assert "Traceback" not in done.stdout


def test_a_base_is_locked_while_it_is_mounted(machine: Machine, ground: Path) -> None:
    """So `cowbuild update` does not remove the base of a session of schroot."""
    machine.output("mount", "-t", "fuse.cowfs", ground / "base", ground / "mnt")
    with actions.opened(os.fsencode(ground / "base")) as descriptor:
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        machine.output("umount", ground / "mnt")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _mounts_on(point: Path) -> list[list[str]]:
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [fields for line in table if (fields := line.split(" "))[4] == str(point)]


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("{}/base", "layer={}/layer,nodev"),
        ("{}/link/", "nodev,engine=device"),
        ("overlay", "lowerdir={}/top:{}/base,upperdir={}/up,workdir={}/work,engine=device"),
        ("{0}/b,\\040a\\134\\134:se", "layer={0}/la\\134,y\\040er"),
        ("{}/top:{}/base", "engine=pyfuse3"),
    ],
    ids=["base", "link", "overlayfs", "odd-names", "several"],
)
def test_what_a_line_of_fstab_mounts_is_mounted_once(machine: Machine, ground: Path, source: str, options: str) -> None:
    point, fstab = ground / "mnt", ground / "fstab"
    (ground / "link").symlink_to("base")
    for name in ("base", "b, a\\:se"):
        (ground / name).mkdir(exist_ok=True)
        (ground / name / "file").write_text("of the base")
    (ground / "top").mkdir()
    source, options = (text.replace("{0}", "{}").replace("{}", str(ground)) for text in (source, options))
    fstab.write_text(f"{source} {point} fuse.cowfs {options} 0 0\n")
    for _ in range(2):
        machine.output("mount", "-a", "-T", fstab)
        assert (point / "file").read_text() == "of the base"
        assert [fields[3] for fields in _mounts_on(point)] == ["/"]
    shown = machine.output("findmnt", "--noheadings", "--raw", "--output", "SOURCE", point)
    given = source.replace(f"{ground}/link/", f"{ground}/base")
    assert shown.strip().replace("\\x20", "\\040").replace("\\x5c", "\\134") == given
    machine.output("umount", point)
    assert _mounts_on(point) == []


def test_a_mount_for_many_ordinary_users_can_have_its_acls_cached(machine: Machine, ground: Path) -> None:
    """What the kernel does not do for the root of a FUSE file system itself."""
    point = ground / "mnt"
    asked = []
    for options in (["-o", "acl_cache"], []):
        machine.output("mount", "-t", "fuse.cowfs", *options, ground / "base", point)
        reader = ("setpriv", "--reuid=65534", "--clear-groups", "--", "sh", "-c")
        machine.output(*reader, f"for i in 1 2 3 4 5 6 7 8 9 10; do cat {point}/file {point}/file; done")
        asked.append(read_statistics(point).opcodes["GETXATTR"].count)
        machine.output("umount", point)
    assert asked[0] < 10 < 20 <= asked[1]
