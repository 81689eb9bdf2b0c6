"""A writable snapshot of a btrfs subvolume."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.candidates.interface import Candidate, Needs, Session, file_system_of


class BtrfsSnapshot(Candidate):
    name = "btrfs-snapshot"
    needs = Needs("root", "a subvolume for each base", "btrfs")
    programs = ("btrfs",)
    own_base = True

    def why_not(self, ground: Path) -> str | None:
        if reason := super().why_not(ground):
            return reason
        kind = file_system_of(ground)
        return None if kind == "btrfs" else f"the files lie on {kind}"

    @contextmanager
    def prepared(self, base: Path, place: Path) -> Iterator[Path]:
        subprocess.run(["btrfs", "--quiet", "subvolume", "create", str(place)], check=True)
        subprocess.run(["cp", "-a", "--reflink=auto", f"{base}/.", str(place)], check=True)
        try:
            yield place
        finally:
            subprocess.run(["btrfs", "--quiet", "subvolume", "delete", str(place)], check=True)

    def create(self, base: Path, place: Path) -> Session:
        place.mkdir(parents=True)
        root = place / "root"
        subprocess.run(["btrfs", "--quiet", "subvolume", "snapshot", str(base), str(root)], check=True)
        return Session(root, place, used=lambda: _exclusive(root))

    def discard(self, session: Session) -> None:
        subprocess.run(["btrfs", "--quiet", "subvolume", "delete", str(session.root)], check=True)
        session.place.rmdir()


def _exclusive(root: Path) -> int:
    command = ["btrfs", "filesystem", "du", "--summarize", "--raw", str(root)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(output.splitlines()[-1].split()[1])
