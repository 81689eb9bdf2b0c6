"""pbuilder, which unpacks a tarball for each build, and cowbuilder, which makes hard links; both keep downloads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.builders.interface import Builder, Machine


def _options(machine: Machine, place: Path) -> list[str]:
    """Those that both have. Their configuration files are the machine's."""
    for name in ("aptcache", "ccache", "build", "hooks"):
        (place / name).mkdir(parents=True, exist_ok=True)
    return [
        *("--distribution", machine.suite, "--mirror", machine.mirror, "--components", "main"),
        *("--aptcache", f"{place}/aptcache", "--buildplace", f"{place}/build", "--hookdir", f"{place}/hooks"),
    ]


class Pbuilder(Builder):
    """Cowbuilder has another program and another kind of base."""

    name = "pbuilder"
    program: str | Path = "pbuilder"
    programs = ("pbuilder", "debootstrap")
    base = ("--basetgz", "base.tgz")

    def set_up(self, machine: Machine) -> None:
        self._run(machine, "create", (), machine.ground)

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        given = ("--buildresult", output, "--debbuildopts", f"-j{machine.jobs}", dsc)
        return self._run(machine, "build", given, output)

    def _run(self, machine: Machine, operation: str, given: Sequence[object], where: Path) -> float | None:
        place = machine.ground / self.name
        option, base = self.base
        command = [self.program, operation, *_options(machine, place), option, place / base, *given]
        return machine.run(command, plain=False, where=where)


class Cowbuilder(Pbuilder):
    name = "cowbuilder"
    program: str | Path = "cowbuilder"
    programs = ("cowbuilder", "debootstrap")
    base = ("--basepath", "base.cow")


class CowbuildCowbuilder(Cowbuilder):
    """Ours, by the words of cowbuilder."""

    name = "cowbuild-cowbuilder"
    program = Path(sys.executable).with_name(name)
    programs = ("pbuilder", "debootstrap")
