"""The file systems that bases and sessions lie on: tmpfs, or one made anew in a file, always of the same size."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GIGABYTES = 8

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"],
    "xfs": ["mkfs.xfs", "-q", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "--nodiscard"],
}

KINDS = ("tmpfs", *MAKE)

SETTLED_KILOBYTES = 4096
"""Less than so much waiting to be written: the disk is at rest."""


@contextmanager
def ground(kind: str, at: Path) -> Iterator[Path]:
    """A fresh file system of the kind mounted on `at`, which is made and taken away again."""
    # It may be there, empty, after a run that was killed.
    at.mkdir(parents=True, exist_ok=True)
    try:
        if kind == "tmpfs":
            options = "size=90%,nr_inodes=0,mode=0755"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "bench", str(at)], check=True)
        else:
            _mount_in_a_file(kind, at)
        try:
            yield at
        finally:
            subprocess.run(["umount", str(at)], check=True)
    finally:
        at.rmdir()


def loop_device(image: Path) -> str:
    """A new one over a sparse file, which has no name any more: it goes when the device does."""
    with image.open("wb") as file:
        file.truncate(GIGABYTES << 30)
    command = ["losetup", "--find", "--show", str(image)]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    finally:
        image.unlink()


def _mount_in_a_file(kind: str, at: Path) -> None:
    """The loop device goes with the mount: a killed run leaves nothing behind."""
    loop = loop_device(at.with_name(f"{at.name}.image"))
    try:
        subprocess.run([*MAKE[kind], loop], capture_output=True, check=True)
        subprocess.run(["mount", loop, str(at)], check=True)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def settle() -> None:
    """Returns when nothing waits to be written to a disk any more."""
    for _ in range(50):
        os.sync()
        if _unwritten_kilobytes() < SETTLED_KILOBYTES:
            return
        time.sleep(0.1)


def forget_caches() -> None:
    """What was read from disks is read from them again."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _unwritten_kilobytes() -> int:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in ("Dirty", "Writeback"))
