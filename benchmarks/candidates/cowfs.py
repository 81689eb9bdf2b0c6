"""cowfs, by each of its engines: its own over io_uring where the kernel has that, and without, and pyfuse3's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.candidates.interface import MountedCandidate, Needs
from setup import io_uring_switch


class Cowfs(MountedCandidate):
    name = "cowfs"
    needs = Needs("none", "/dev/fuse open to users; the fastest with FUSE over io_uring switched on")
    engine = "direct"
    plain_directories = True  # as in cowbuild

    def start(self, base: Path, layer: Path, root: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cowfs", "-f", "--engine", self.engine, "--layer", str(layer)]
        return subprocess.Popen([*command, "-o", "allow_other,nosuid", str(base), str(root)])


class CowfsOnDevice(Cowfs):
    """As kernels come: FUSE over io_uring is off in them."""

    name = "cowfs-device"
    needs = Needs("none", "/dev/fuse open to users")
    engine = "device"

    def why_not(self, ground: Path) -> str | None:
        return super().why_not(ground) or (
            None if io_uring_switch.offered() else "the same as cowfs: no FUSE over io_uring"
        )


class CowfsOnPyfuse3(Cowfs):
    name = "cowfs-pyfuse3"
    engine = "pyfuse3"
