"""How long one waits for a verdict: cowbuild beside debrebuild and reprotest, on one package, whole commands.

    python -m benchmarks.verdicts [PACKAGE] [--rounds N] [--snapshot URL] [--json FILE]

Each round has a first verdict, from nothing kept but a base and the archive's files, and a second, with what the first
left. debrebuild asks snapshot.debian.org, and is left out where that cannot be reached; so is what is not installed.
reprotest builds on the machine itself, where the build dependencies must be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.debian import apt
from tests.builder.packages import COWBUILD

DEBREBUILD_ASKS = ("snapshot.debian.org", 80)
NO_DIFFERENCE, DIFFERENT = 0, 2


@dataclass(frozen=True)
class Work:
    """What is to be judged, and where a round's files go."""

    dsc: Path
    tree: Path
    buildinfo: Path
    base: Path
    place: Path
    snapshot: str | None

    def environment(self, name: str) -> dict[str, str]:
        """With caches of its own for each candidate and round."""
        own = {f"XDG_{kind}_HOME": str(self.place / name / kind) for kind in ("CACHE", "STATE")}
        return {**os.environ, **own, "TMPDIR": str(self.place)}


@dataclass(frozen=True)
class Candidate:
    name: str
    why_not: Callable[[], str | None]
    command: Callable[[Work], list[str]]
    fine: Sequence[int] = (NO_DIFFERENCE,)
    """Exit codes that are a verdict."""


def _missing(*programs: str) -> Callable[[], str | None]:
    def why_not() -> str | None:
        lacking = [name for name in programs if shutil.which(name) is None]
        return f"{', '.join(lacking)} not installed" if lacking else None

    return why_not


def _debrebuild_cannot() -> str | None:
    if reason := _missing("debrebuild", "mmdebstrap")():
        return reason
    with suppress(OSError), socket.create_connection(DEBREBUILD_ASKS, timeout=5):
        return None
    return f"{DEBREBUILD_ASKS[0]} cannot be reached"


def _rebuild(work: Work) -> list[str]:
    command = [*COWBUILD, "rebuild", str(work.buildinfo), "--base", str(work.base), "--output", str(work.place)]
    return [*command, *(["--snapshot", work.snapshot] if work.snapshot else [])]


def _debrebuild(work: Work) -> list[str]:
    return ["debrebuild", f"--buildresult={work.place}", "--builder=mmdebstrap", str(work.buildinfo)]


def _vary(work: Work) -> list[str]:
    options = ("--vary", "all", "--base", str(work.base), "--output", str(work.place))
    return [*COWBUILD, "build", str(work.dsc), *options]


def _reprotest(work: Work) -> list[str]:
    # What it cannot vary without more rights or programs than cowbuild asks for.
    return ["reprotest", "--vary=-user_group,-domain_host,-fileordering", "auto", str(work.tree), "--", "null"]


CANDIDATES = (
    Candidate("cowbuild rebuild", lambda: None, _rebuild, (NO_DIFFERENCE, DIFFERENT)),
    Candidate("debrebuild", _debrebuild_cannot, _debrebuild),
    Candidate("cowbuild build --vary all", lambda: None, _vary, (NO_DIFFERENCE, DIFFERENT)),
    Candidate("reprotest", _missing("reprotest", "faketime"), _reprotest, (0, 1)),
)


def prepared(package: str, place: Path, snapshot: str | None) -> Work:
    """The source, and what a build of it says of itself; a base is made where there is none. Not measured."""
    suite = apt.machine_suite()
    base = Path(".cache").absolute() / f"base-{suite}"
    if not base.exists():
        subprocess.run([*COWBUILD, "create", str(base), "--suite", suite], check=True)
    dsc = apt.download_source(package, None, suite, place)
    subprocess.run(["dpkg-source", "--no-check", "-x", dsc, "tree"], cwd=place, check=True, stdout=subprocess.DEVNULL)
    command = [*COWBUILD, "build", str(dsc), "--base", str(base), "--output", str(place), "--quiet"]
    subprocess.run(command, check=True)
    [buildinfo] = place.glob("*.buildinfo")
    return Work(dsc, place / "tree", buildinfo, base, place, snapshot)


def measured(candidate: Candidate, work: Work, number: int) -> list[float]:
    """Seconds to the first verdict and to the second. RuntimeError where there is none."""
    found = []
    for _verdict in range(2):
        started = time.monotonic()
        done = subprocess.run(
            candidate.command(work),
            env=work.environment(f"{candidate.name.replace(' ', '-')}-{number}"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        found.append(round(time.monotonic() - started, 2))
        if done.returncode not in candidate.fine:
            raise RuntimeError(f"{candidate.name} ended with {done.returncode}: {done.stdout[-1000:]}")
    return found


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__.splitlines()[0])
    asked.add_argument("package", nargs="?", default="hello")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--snapshot", help="for cowbuild rebuild, where the archive has gone on")
    asked.add_argument("--json", type=Path, help="where the figures go, too")
    arguments = asked.parse_args()
    figures: dict[str, object] = {"package": arguments.package, "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="verdicts-", dir="/var/tmp") as place:
        work = prepared(arguments.package, Path(place), arguments.snapshot)
        for candidate in CANDIDATES:
            if reason := candidate.why_not():
                figures[candidate.name] = reason
            else:
                try:
                    rounds = [measured(candidate, work, number) for number in range(arguments.rounds)]
                    figures[candidate.name] = {
                        "first": [each[0] for each in rounds],
                        "second": [each[1] for each in rounds],
                    }
                except RuntimeError as error:
                    figures[candidate.name] = str(error)
            print(f"{candidate.name}: {figures[candidate.name]}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
