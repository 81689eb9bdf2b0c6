"""A compressed tarball of the base, unpacked for each session, as sbuild's unshare mode does."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.candidates.interface import Needs, Session
from benchmarks.candidates.plain_copy import Copy


class Tarball(Copy):
    name = "tarball"
    needs = Needs("none")
    programs = ("tar", "zstd")

    @contextmanager
    def prepared(self, base: Path, place: Path) -> Iterator[Path]:
        place.mkdir()
        packed = place / "base.tar.zst"
        command = ["tar", "--create", "--zstd", "--xattrs", "--file", str(packed), "--directory", str(base), "."]
        subprocess.run(command, check=True)
        yield packed

    def create(self, base: Path, place: Path) -> Session:
        root = place / "root"
        root.mkdir(parents=True)
        command = ["tar", "--extract", "--zstd", "--xattrs", "--file", str(base), "--directory", str(root)]
        subprocess.run(command, check=True)
        return Session(root, place)
