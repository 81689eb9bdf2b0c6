"""Snapshots by LVM, the classic kind and thin ones, in a volume group of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from benchmarks.candidates.interface import Candidate, Needs, Session, allocated
from benchmarks.grounds import GIGABYTES, loop_device

GROUP = "cowfs_bench"


def lvm(*arguments: str) -> str:
    # Where no udev runs, LVM would wait for it for ever.
    synchronised = int(Path("/run/udev/control").exists())
    settings = f"activation {{ udev_sync={synchronised} udev_rules={synchronised} monitoring=0 }}"
    command = ["lvm", arguments[0], "--config", settings, *arguments[1:]]
    environment = {**os.environ, "LVM_SUPPRESS_FD_WARNINGS": "1", "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class LvmClassic(Candidate):
    """A snapshot with room for changes of its own; each first write to a block copies the old one there."""

    name = "lvm-classic"
    needs = Needs("root", "a volume group, a volume for each base")
    programs: ClassVar[tuple[str, ...]] = ("lvm", "mkfs.ext4")
    own_base = True

    def why_not(self, ground: Path) -> str | None:
        if reason := super().why_not(ground):
            return reason
        if "device-mapper" not in Path("/proc/misc").read_text():
            return "the kernel has no device-mapper"
        return None

    @contextmanager
    def prepared(self, base: Path, place: Path) -> Iterator[Path]:
        place.mkdir()
        with _disk(place) as disk:
            lvm("vgcreate", "--yes", GROUP, disk)
            try:
                self.make_origin(allocated(base))
                origin = place / "base"
                origin.mkdir()
                subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", _device("base")], check=True)
                subprocess.run(["mount", _device("base"), str(origin)], check=True)
                subprocess.run(["cp", "-a", f"{base}/.", str(origin)], check=True)
                subprocess.run(["mount", "-o", "remount,ro", str(origin)], check=True)
                try:
                    yield origin
                finally:
                    subprocess.run(["umount", str(origin)], check=True)
            finally:
                lvm("vgremove", "--yes", "--force", GROUP)
        shutil.rmtree(place)

    def make_origin(self, content: int) -> None:
        lvm("lvcreate", "--yes", "--size", f"{content * 2 // 1024 + (2 << 20)}k", "--name", "base", GROUP)

    def make_snapshot(self, name: str) -> None:
        lvm("lvcreate", "--yes", "--snapshot", "--size", "2g", "--name", name, f"{GROUP}/base")

    def create(self, base: Path, place: Path) -> Session:
        name = place.name
        self.make_snapshot(name)
        root = place / "root"
        root.mkdir(parents=True)
        subprocess.run(["mount", _device(name), str(root)], check=True)
        return Session(root, place, used=self.meter(name))

    def meter(self, name: str) -> Callable[[], int]:
        """What a session takes on disk, to be asked later."""
        return lambda: _used(name)

    def discard(self, session: Session) -> None:
        subprocess.run(["umount", str(session.root)], check=True)
        lvm("lvremove", "--yes", "--force", f"{GROUP}/{session.place.name}")
        shutil.rmtree(session.place)


class LvmThin(LvmClassic):
    """Base and snapshots share a pool of blocks; nothing is copied before it is written."""

    name = "lvm-thin"
    needs = Needs("root", "a volume group with a thin pool, a volume for each base")
    programs = ("lvm", "mkfs.ext4", "thin_check")

    def make_origin(self, content: int) -> None:
        lvm("lvcreate", "--yes", "--type", "thin-pool", "--size", f"{GIGABYTES - 2}g", "--name", "pool", GROUP)
        size = f"{content * 2 // 1024 + (2 << 20)}k"
        lvm("lvcreate", "--yes", "--thin", "--virtualsize", size, "--name", "base", f"{GROUP}/pool")

    def make_snapshot(self, name: str) -> None:
        options = ("--yes", "--snapshot", "--setactivationskip", "n", "--name", name)
        lvm("lvcreate", *options, f"{GROUP}/base")

    def meter(self, name: str) -> Callable[[], int]:
        # A thin volume counts what it shares, too.
        before = _used("pool")
        return lambda: _used("pool") - before


def _device(name: str) -> str:
    return f"/dev/{GROUP}/{name}"


def _used(name: str) -> int:
    columns = "lv_size,data_percent"
    listed = lvm("lvs", "--noheadings", "--units", "b", "--nosuffix", "--options", columns, f"{GROUP}/{name}")
    size, percent = listed.split()
    return int(float(size) * float(percent) / 100)


@contextmanager
def _disk(place: Path) -> Iterator[str]:
    """A loop device, its file beside the file system that `place` is on: in it, there would be two to be measured."""
    point = next(path for path in (place, *place.parents) if path.is_mount())
    loop = loop_device(point.parent / "lvm.image")
    try:
        yield loop
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
