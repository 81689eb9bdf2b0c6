"""The kernel's overlayfs: what all others are compared with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.candidates.interface import MountedCandidate, Needs, upper_and_work


class Overlayfs(MountedCandidate):
    name = "overlayfs"
    needs = Needs("root, or a user namespace")
    extra = ""

    def start(self, base: Path, layer: Path, root: Path) -> None:
        options = upper_and_work(base, layer) + self.extra
        subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(root)], check=True)


class OverlayfsVolatile(Overlayfs):
    """Without fsync: what a throw-away session deserves, and hardly anybody sets."""

    name = "overlayfs-volatile"
    extra = ",volatile"


class OverlayfsPlain(Overlayfs):
    """With a directory of the disk to build in, as sbuild's profile for schroot has it, and one for /tmp."""

    name = "overlayfs-plain"
    plain_directories = True
