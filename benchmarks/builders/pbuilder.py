"""pbuilder, which unpacks a tarball for each build, and cowbuilder, which makes hard links; both keep downloads."""

from __future__ import annotations

from pathlib import Path

from benchmarks.builders.interface import Builder, Machine


def _options(machine: Machine, place: Path) -> list[str]:
    """Those that both have. Their configuration files are the machine's."""
    for name in ("aptcache", "ccache", "build", "hooks"):
        (place / name).mkdir(parents=True, exist_ok=True)
    return [
        *("--distribution", machine.suite, "--mirror", machine.mirror, "--components", "main"),
        *(
            "--aptcache",
            str(place / "aptcache"),
            "--buildplace",
            str(place / "build"),
            "--hookdir",
            str(place / "hooks"),
        ),
    ]


class Pbuilder(Builder):
    name = "pbuilder"
    programs = ("pbuilder", "debootstrap")

    def set_up(self, machine: Machine) -> None:
        place = machine.ground / "pbuilder"
        base = ("--basetgz", place / "base.tgz")
        machine.run(["pbuilder", "create", *_options(machine, place), *base], plain=False, where=machine.ground)

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        place = machine.ground / "pbuilder"
        given = ("--basetgz", place / "base.tgz", "--buildresult", output, "--debbuildopts", f"-j{machine.jobs}")
        return machine.run(["pbuilder", "build", *_options(machine, place), *given, dsc], plain=False, where=output)


class Cowbuilder(Builder):
    name = "cowbuilder"
    programs = ("cowbuilder", "debootstrap")

    def set_up(self, machine: Machine) -> None:
        place = machine.ground / "cowbuilder"
        base = ("--basepath", place / "base.cow")
        machine.run(["cowbuilder", "create", *_options(machine, place), *base], plain=False, where=machine.ground)

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        place = machine.ground / "cowbuilder"
        given = ("--basepath", place / "base.cow", "--buildresult", output, "--debbuildopts", f"-j{machine.jobs}")
        return machine.run(["cowbuilder", "build", *_options(machine, place), *given, dsc], plain=False, where=output)
