"""sbuild, in the two ways in which it is used: a tarball unpacked in a user namespace, and schroot with overlayfs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.builders.interface import Builder, Machine

CHROOT = """\
[{suite}-{architecture}-sbuild]
type=directory
directory={directory}
union-type=overlay
profile=sbuild
groups=root,sbuild
root-groups=root,sbuild
"""


def _bootstrap(machine: Machine, target: Path, *, plain: bool, where: Path) -> None:
    words = ["mmdebstrap", "--quiet", "--variant=buildd", machine.suite, target, machine.mirror]
    machine.run(words, plain=plain, where=where)


def _build(machine: Machine, dsc: Path, output: Path, mode: str, chroot: object) -> float | None:
    how = (f"--chroot-mode={mode}", f"--chroot={chroot}", f"--dist={machine.suite}", f"--jobs={machine.jobs}")
    return machine.run(["sbuild", *how, "--no-run-lintian", dsc], plain=True, where=output)


class SbuildUnshare(Builder):
    name = "sbuild-unshare"
    programs = ("sbuild", "mmdebstrap", "newuidmap", "zstd")
    plain = True

    def set_up(self, machine: Machine) -> None:
        tarball = machine.home / "base.tar.zst"
        _bootstrap(machine, tarball, plain=True, where=machine.home)

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        return _build(machine, dsc, output, "unshare", machine.home / "base.tar.zst")


class SbuildSchroot(Builder):
    name = "sbuild-schroot-overlayfs"
    programs = ("sbuild", "schroot", "mmdebstrap", "dpkg")
    plain = True

    def set_up(self, machine: Machine) -> None:
        directory = machine.ground / "chroot"
        _bootstrap(machine, directory, plain=False, where=machine.ground)
        entry = CHROOT.format(suite=machine.suite, architecture="bench", directory=directory)
        Path("/etc/schroot/chroot.d/bench").write_text(entry)

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        return _build(machine, dsc, output, "schroot", f"{machine.suite}-bench-sbuild")
