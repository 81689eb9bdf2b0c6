"""The machine as the tools of other people see it in these tests: whatever they write to is this run's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from debian.deb822 import Changes

from builder.process import together
from tests.builder.conftest import base_of
from tests.builder.packages import Base, make_source
from tests.harness import syscalls

__all__ = ["base_of"]

# Where schroot, sbuild and mount(8) look for things and keep them.
OWN = ("/etc/sbuild", "/etc/schroot", "/var/lib/sbuild", "/var/lib/schroot", os.path.realpath("/sbin"))
COMMANDS = Path(sys.executable).parent


@dataclass(frozen=True)
class Machine:
    """Runs the tools, on a machine on which cowfs is set up as docs/mount.md says."""

    base: Base

    def run(
        self, *command: str | Path, place: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, its errors with its output."""
        own = {"PATH": f"{COMMANDS}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
        return together(command, environment={**os.environ, **own, **(environment or {})}, directory=place)

    def output(self, *command: str | Path, place: Path | None = None) -> str:
        """What a command prints, which may not fail."""
        done = self.run(*command, place=place)
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="module")
def machine(scratch: Path, base_of: Callable[..., Base]) -> Iterator[Machine]:
    base = base_of("root")
    own = scratch / "machine"
    for directory in OWN:
        shutil.copytree(directory, own / directory[1:], symlinks=True)
    for directory in OWN:
        shutil.copystat(directory, own / directory[1:])
        owner = os.stat(directory)
        os.chown(own / directory[1:], owner.st_uid, owner.st_gid)
        syscalls.mount(str(own / directory[1:]), directory, "", syscalls.MS_BIND)
    syscalls.mount("own-run", "/run", "tmpfs", data="mode=755")
    for name in ("lock", "mount"):
        os.mkdir(f"/run/{name}")
    for helper in COMMANDS.glob("*.fuse.cowfs"):
        Path("/sbin", helper.name).symlink_to(helper)
    yield Machine(base)
    left = [*_mounts(), *_sessions()]
    for directory in ("/run", *OWN):
        syscalls.umount(directory, syscalls.MNT_DETACH)
    shutil.rmtree(own)
    assert left == []
    base.assert_unchanged()


def results(place: Path) -> dict[str, str]:
    """Names of the files there; of a .changes what it says, but for checksums."""
    return {
        path.name: re.sub(r"^ [0-9a-f]{32,64} \d+ ", " ", path.read_text(), flags=re.MULTILINE)
        if path.suffix == ".changes"
        else ""
        for path in sorted(place.iterdir())
        if path.is_file()
    }


def _mounts() -> list[str]:
    table = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in table if " - fuse.cowfs " in line or "schroot/" in line]


def _sessions() -> list[str]:
    kept = Path("/var/lib/schroot")
    return [str(path) for place in ("session", "union/overlay", "union/underlay") for path in (kept / place).iterdir()]


# Of both; what is the same in all tests, and takes time. The dependencies are in the base.
CONFIGURATION = """
$chroot = 'tests';
$run_lintian = 0;
$apt_update = 0;
$apt_distupgrade = 0;
$build_dep_resolver = 'null';
$environment_filter = ['^DEB_', '^FAILS$'];
$bd_uninstallable_explainer = 'none';
$maintainer_name = 'Tester <tester@localhost>' if $ENV{'TEST_REBUILD'};
1;
"""

WHO = ("real", "ours")

# Times, and what depends on them; the .buildinfo has them in it, and the checksums of the .changes are about it.
FIELDS_OF_TIME = ("Date", "Checksums-Sha1", "Checksums-Sha256", "Files")


@dataclass(frozen=True)
class Outcome:
    """What a caller sees of one of the two."""

    code: int
    printed: str
    files: frozenset[str]
    changes: dict[str, dict[str, str]]
    log: str

    @property
    def sections(self) -> list[str]:
        """The titles in boxes, but for the first, which has the time in it."""
        return re.findall(r"^\+[-=]+\+\n\| (.*?) +\|\n\+[-=]+\+$", self.log, re.MULTILINE)[1:]

    @property
    def summary(self) -> dict[str, str]:
        _, _, text = self.log.rpartition("| Summary ")
        return dict(re.findall(r"^([A-Z][A-Za-z -]+): (.*)$", text, re.MULTILINE))


@dataclass(frozen=True)
class Both:
    """The real sbuild and ours on the same machine."""

    machine: Machine
    place: Path

    def run(self, given: Path, command: Sequence[str], where: str = ".", **environment: str) -> tuple[Outcome, Outcome]:
        """Run the command in a copy of `given` for each, in the directory `where` of it."""
        real, ours = (self._run(who, given, command, where, environment) for who in WHO)
        return real, ours

    def _run(self, who: str, given: Path, command: Sequence[str], where: str, environment: dict[str, str]) -> Outcome:
        # The same path for both: it is in what they write.
        work = self.place / "work"
        shutil.copytree(given, work, symlinks=True)
        before = _names(work)
        own = {
            # Not the commands of our own Python: brz takes the first that it finds for its own.
            "PATH": f"{self.place / who}:/usr/sbin:/usr/bin:/sbin:/bin",
            "SBUILD_CONFIG": str(self.place / "config.pl"),
            "XDG_DATA_HOME": str(self.place / "data"),
            "XDG_CACHE_HOME": str(self.place / "cache"),
            "TMPDIR": str(self.place / "tmp"),
            "HOME": str(self.place / "home"),
        }
        done = self.machine.run(*command, place=work / where, environment={**own, **environment})
        changes = {
            path.name: {name: value for name, value in Changes(path.read_text()).items() if name not in FIELDS_OF_TIME}
            for path in work.rglob("*.changes")
        }
        logs = [path.read_text(errors="replace") for path in work.rglob("*.build") if not path.is_symlink()]
        names = frozenset(re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME", name) for name in _names(work) - before)
        work.rename(self.place / f"after-{who}-{len(list(self.place.iterdir()))}")
        return Outcome(done.returncode, done.stdout, names, changes, logs[0] if logs else done.stdout)


def _names(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if ".git" not in path.parts}


def _directory_of_a_module(scratch: Path, name: str) -> Path:
    """Its own: one process may run the tests of several modules."""
    place = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=scratch))
    place.chmod(0o755)
    return place


@pytest.fixture(scope="module")
def both(machine: Machine, scratch: Path) -> Both:
    place = _directory_of_a_module(scratch, "both")
    for name in (*WHO, "home", "cache", "tmp", "data/cowfs/bases/tests"):
        (place / name).mkdir(parents=True)
    for closed in ("data/cowfs/bases", "data/cowfs/bases/tests"):
        (place / closed).chmod(0o700)
    (place / "ours/sbuild").symlink_to(COMMANDS / "cowbuild-sbuild")
    (place / "config.pl").write_text(CONFIGURATION)
    (place / "data/cowfs/bases/tests/current").symlink_to(machine.base.path)
    machine.output("cowbuild", "schroot-config", machine.base.path, "--install", "--name", "tests")
    return Both(machine, place)


def assert_same(real: Outcome, ours: Outcome) -> None:
    assert (ours.code, sorted(ours.files), ours.changes) == (real.code, sorted(real.files), real.changes), (
        f"{real.printed}\n======\n{ours.printed}"
    )
    assert ours.sections == real.sections
    assert set(real.summary) <= set(ours.summary)


@pytest.fixture(scope="module")
def source(scratch: Path) -> Path:
    """A directory with a source tree of one package, and its .dsc."""
    place = _directory_of_a_module(scratch, "source")
    make_source(place, 'test -z "$FAILS"')
    return place
