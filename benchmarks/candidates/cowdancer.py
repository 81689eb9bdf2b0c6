"""Hard links, and cowdancer's library that breaks them before a write: cowbuilder's way, here by its cow-shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.candidates.interface import Needs, Session
from benchmarks.candidates.plain_copy import OverACopy

# A process that cow-shell leaves to tidy up sometimes never ends: its pid namespace ends it.
ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


class Cowdancer(OverACopy):
    name = "cowdancer"
    needs = Needs("root")
    programs = ("cow-shell",)

    def create(self, base: Path, place: Path) -> Session:
        place.mkdir(parents=True)
        subprocess.run(["cp", "-al", str(base), str(place / "root")], check=True)
        session = Session(place / "root", place, prefix=(*ALONE, "cow-shell"))
        session.used = lambda: _not_shared(place)
        return session


def _not_shared(place: Path) -> int:
    """Bytes of what is the session's alone: directories, and files with one name."""
    command = ["find", str(place), "(", "-type", "d", "-o", "-links", "1", ")", "-printf", "%b\\n"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return 512 * sum(map(int, output.split()))
