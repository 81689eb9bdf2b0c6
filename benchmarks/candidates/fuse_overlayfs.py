"""overlayfs's semantics in user space, in C: what rootless containers use."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.candidates.interface import MountedCandidate, Needs, upper_and_work


class FuseOverlayfs(MountedCandidate):
    name = "fuse-overlayfs"
    needs = Needs("none", "/dev/fuse open to users")
    programs = ("fuse-overlayfs",)

    def start(self, base: Path, layer: Path, root: Path) -> subprocess.Popen[bytes]:
        options = upper_and_work(base, layer) + ",allow_other"
        return subprocess.Popen(["fuse-overlayfs", "-f", "-o", options, str(root)])
