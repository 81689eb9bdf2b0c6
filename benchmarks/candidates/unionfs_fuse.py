"""unionfs-fuse, the oldest union file system in user space that Debian has."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.candidates.interface import MountedCandidate, Needs


class UnionfsFuse(MountedCandidate):
    name = "unionfs-fuse"
    needs = Needs("none", "/dev/fuse open to users")
    programs = ("unionfs",)

    def start(self, base: Path, layer: Path, root: Path) -> subprocess.Popen[bytes]:
        layer.mkdir()
        options = "cow,allow_other,suid,dev,hide_meta_files"
        command = ["unionfs", "-f", "-o", options, f"{layer}=RW:{base}=RO", str(root)]
        # It tells of every name that it hides and of every ioctl.
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
