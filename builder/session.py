"""One throw-away root: a base below, a layer of its own on top. The only module that knows cowfs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.log import Problem

COWFS = (sys.executable, "-P", "-m", "cowfs.cli")

# Nobody but the session's processes can reach the mount, whose directory is private; allow_other lets all of them.
MOUNT_OPTIONS = "allow_other,nosuid,nodev"

USABLE_WITHIN = 30.0
ENDED_WITHIN = 10.0


@contextmanager
def mounted(base: Path, directory: Path) -> Iterator[Path]:
    """Mount `base` copy-on-write below the private `directory`, and yield the root of the session.

    The layer is `directory`/layer. Problem when it cannot be mounted. On the way out, however that came, the mount is
    gone and its daemon reaped.
    """
    root = directory / "root"
    root.mkdir()
    complaints = directory / "cowfs.log"
    with complaints.open("wb") as stderr:
        # In a process group of its own: a Ctrl-C at the terminal ends the build, which then ends the daemon.
        daemon = subprocess.Popen(
            [*COWFS, "-f", "--layer", directory / "layer", "-o", MOUNT_OPTIONS, base, root],
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
            process_group=0,
        )
    try:
        _wait_until_usable(daemon, root, complaints)
        yield root
    finally:
        _end(daemon, root)


def _wait_until_usable(daemon: subprocess.Popen[bytes], root: Path, complaints: Path) -> None:
    outside = root.parent.stat().st_dev
    give_up = time.monotonic() + USABLE_WITHIN
    while root.stat().st_dev == outside:
        if daemon.poll() is not None or time.monotonic() > give_up:
            last_words = complaints.read_text(errors="replace").strip()
            raise Problem("The session's root cannot be mounted", last_words or "cowfs gave no reason")
        time.sleep(0.005)


def _end(daemon: subprocess.Popen[bytes], root: Path) -> None:
    # Lazily where something still holds it: this mount namespace ends with the builder, and the mount with it.
    unmount = ["umount", "-n", str(root)]
    if root.is_mount() and subprocess.run(unmount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        subprocess.run([*unmount, "--lazy"], check=False)
    try:
        daemon.wait(ENDED_WITHIN)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
