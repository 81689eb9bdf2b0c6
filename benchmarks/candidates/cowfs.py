"""cowfs, by each of its engines."""

import subprocess
import sys
from pathlib import Path

from benchmarks.candidates.interface import MountedCandidate, Needs


class Cowfs(MountedCandidate):
    name = "cowfs"
    needs = Needs("none", "/dev/fuse open to users")
    engine = "direct"

    def start(self, base: Path, layer: Path, root: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "cowfs.cli", "-f", "--engine", self.engine, "--layer", str(layer)]
        return subprocess.Popen([*command, "-o", "allow_other,nosuid", str(base), str(root)])


class CowfsOnPyfuse3(Cowfs):
    name = "cowfs-pyfuse3"
    engine = "pyfuse3"
