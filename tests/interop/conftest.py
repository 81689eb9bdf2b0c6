"""The machine as the tools of other people see it in these tests: whatever they write to is this run's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builder.conftest import base_of
from tests.builder.packages import Base
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
        return subprocess.run(
            list(map(str, command)),
            cwd=place,
            env={**os.environ, "PATH": f"{COMMANDS}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )

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
