"""cowbuild, the first time for a set of dependencies, and again; over io_uring, and on a kernel as it comes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.builders.interface import Builder, Machine
from setup import io_uring_switch


class Cowbuild(Builder):
    programs = ("mmdebstrap", "newuidmap")
    plain = True

    def __init__(self, name: str, *, again: bool, ring: bool) -> None:
        self.name = name
        self._again = again
        self._ring = ring

    def set_up(self, machine: Machine) -> None:
        # One base serves all.
        if not self._base(machine).exists():
            words = ["create", self._base(machine), "--suite", machine.suite, "--mirror", machine.mirror]
            self._run(machine, words, machine.home)

    def before(self, machine: Machine) -> None:
        if not self._again:
            # What was downloaded stays, as in pbuilder's cache.
            shutil.rmtree(machine.home / ".cache/cowfs/dependencies", ignore_errors=True)

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        words = ["build", dsc, "--base", self._base(machine), "--jobs", machine.jobs]
        with io_uring_switch.set_to(on=self._ring):
            return self._run(machine, words, output)

    def _run(self, machine: Machine, words: Sequence[object], where: Path) -> float | None:
        program = Path(sys.executable).with_name("cowbuild")
        return machine.run([program, *map(str, words)], plain=True, where=where)

    @staticmethod
    def _base(machine: Machine) -> Path:
        return machine.home / "base"


class CowbuildSbuild(Cowbuild):
    """By the words of sbuild, with its lists and upgrade."""

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        how = (f"--chroot={self._base(machine)}", f"--dist={machine.suite}", f"--jobs={machine.jobs}")
        program = Path(sys.executable).with_name("cowbuild-sbuild")
        return machine.run([program, *how, "--no-run-lintian", dsc], plain=True, where=output)
