"""A copy of every file: what needs nothing, and with reflinks no data either."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.candidates.interface import Candidate, Needs, Session, file_system_of


class Copy(Candidate):
    name = "copy"
    needs = Needs("none")
    reflink = "never"

    def create(self, base: Path, place: Path) -> Session:
        place.mkdir(parents=True)
        subprocess.run(["cp", "-a", f"--reflink={self.reflink}", str(base), str(place / "root")], check=True)
        return Session(place / "root", place)

    def discard(self, session: Session) -> None:
        # Faster than shutil's on large trees, and what a user would call.
        subprocess.run(["rm", "-rf", str(session.place)], check=True)


class OverACopy(Copy):
    """Shares what it can with its base, which therefore must lie on the same file system."""

    own_base = True

    @contextmanager
    def prepared(self, base: Path, place: Path) -> Iterator[Path]:
        place.mkdir()
        subprocess.run(["cp", "-a", str(base), str(place / "base")], check=True)
        yield place / "base"


class Reflink(OverACopy):
    name = "reflink"
    needs = Needs("none", file_system="btrfs, xfs")
    reflink = "always"

    def why_not(self, ground: Path) -> str | None:
        if reason := super().why_not(ground):
            return reason
        source, target = ground / "reflink-source", ground / "reflink-target"
        source.write_bytes(b"x" * 65536)
        command = ["cp", "--reflink=always", str(source), str(target)]
        possible = subprocess.run(command, capture_output=True, check=False).returncode == 0
        for path in (source, target):
            path.unlink(missing_ok=True)
        return None if possible else f"{file_system_of(ground)} has no reflinks"

    def create(self, base: Path, place: Path) -> Session:
        session = super().create(base, place)
        before = shutil.disk_usage(place).used
        # du counts what is shared as if it were not; what the file system says to be in use counts it once.
        session.used = lambda: max(0, shutil.disk_usage(place).used - before)
        return session
