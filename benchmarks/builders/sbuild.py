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


class SbuildUnshare(Builder):
    name = "sbuild-unshare"
    programs = ("sbuild", "mmdebstrap", "newuidmap", "zstd")
    plain = True

    def set_up(self, machine: Machine) -> None:
        tarball = machine.home / "base.tar.zst"
        make = ["mmdebstrap", "--quiet", "--variant=buildd", machine.suite, tarball, machine.mirror]
        machine.run(make, plain=True, where=machine.home)

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        chroot = ("--chroot-mode=unshare", f"--chroot={machine.home / 'base.tar.zst'}")
        words = ["sbuild", *chroot, f"--dist={machine.suite}", f"--jobs={machine.jobs}", "--no-run-lintian", dsc]
        return machine.run(words, plain=True, where=output)


class SbuildSchroot(Builder):
    name = "sbuild-schroot-overlayfs"
    programs = ("sbuild", "schroot", "mmdebstrap", "dpkg")
    plain = True

    def set_up(self, machine: Machine) -> None:
        directory = machine.ground / "chroot"
        make = ["mmdebstrap", "--quiet", "--variant=buildd", machine.suite, directory, machine.mirror]
        machine.run(make, plain=False, where=machine.ground)
        entry = CHROOT.format(suite=machine.suite, architecture="bench", directory=directory)
        Path("/etc/schroot/chroot.d/bench").write_text(entry)

    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        chroot = ("--chroot-mode=schroot", f"--chroot={machine.suite}-bench-sbuild")
        words = ["sbuild", *chroot, f"--dist={machine.suite}", f"--jobs={machine.jobs}", "--no-run-lintian", dsc]
        return machine.run(words, plain=True, where=output)
