"""How long one waits for a verdict: cowbuild beside debrebuild and reprotest, on one package, whole commands.

    python -m benchmarks.verdicts [PACKAGE] [--rounds N] [--json FILE]

Each round has a first verdict, from nothing kept but a base and the archive's files, and a second, with what the first
left. debrebuild is told that the machine's mirror is snapshot.debian.org (snapshot_stand_in.py); what is not installed
is left out. reprotest builds on the machine itself, where the build dependencies must be installed. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.snapshot_stand_in import standing_in
from builder.debian import apt
from builder.process import output, together
from tests.builder.packages import COWBUILD

NO_DIFFERENCE, DIFFERENT = 0, 2


@dataclass(frozen=True)
class Work:
    """What is to be judged, and where a round's files go."""

    dsc: Path
    tree: Path
    buildinfo: Path
    base: Path
    place: Path
    """Of its own for each candidate and round."""
    to_snapshot: Sequence[str]
    """Before a command that asks snapshot.debian.org."""

    @property
    def output(self) -> Path:
        return self.place / "output"

    def environment(self) -> dict[str, str]:
        own = {f"XDG_{kind}_HOME": str(self.place / kind) for kind in ("CACHE", "STATE")}
        return {**os.environ, **own, "TMPDIR": str(self.place / "tmp")}


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


def _rebuild(work: Work) -> list[str]:
    return [*COWBUILD, "rebuild", str(work.buildinfo), "--base", str(work.base), "--output", str(work.output)]


def _debrebuild(work: Work) -> list[str]:
    return [
        *work.to_snapshot,
        "debrebuild",
        f"--buildresult={work.output}",
        "--builder=mmdebstrap",
        str(work.buildinfo),
    ]


def _vary(work: Work) -> list[str]:
    options = ("--vary", "all", "--base", str(work.base), "--output", str(work.output))
    return [*COWBUILD, "build", str(work.dsc), *options]


def _reprotest(work: Work) -> list[str]:
    # What it cannot vary without more rights or programs than cowbuild asks for.
    return ["reprotest", "--vary=-user_group,-domain_host,-fileordering", str(work.tree), "--", "null"]


CANDIDATES = (
    Candidate("cowbuild rebuild", lambda: None, _rebuild, (NO_DIFFERENCE, DIFFERENT)),
    Candidate("debrebuild", _missing("debrebuild", "mmdebstrap", "equivs-build"), _debrebuild),
    Candidate("cowbuild build --vary all", lambda: None, _vary, (NO_DIFFERENCE, DIFFERENT)),
    Candidate("reprotest", _missing("reprotest", "faketime"), _reprotest, (0, 1)),
)


def prepared(package: str, place: Path) -> Work:
    """The source, and what a build of it says of itself; a base is made where there is none. Not measured."""
    suite = apt.machine_suite()
    base = Path(".cache").absolute() / f"base-{suite}"
    if not base.exists():
        output([*COWBUILD, "create", base, "--suite", suite])
    source = apt.download_source(package, None, suite, place)
    output(["dpkg-source", "--no-check", "-x", source, "tree"], directory=place)
    output([*COWBUILD, "build", source, "--base", base, "--output", place, "--quiet"])
    [buildinfo] = place.glob("*.buildinfo")
    return Work(source, place / "tree", buildinfo, base, place, ())


def measured(candidate: Candidate, work: Work, number: int) -> list[float]:
    """Seconds to the first verdict and to the second. RuntimeError where there is none."""
    place = work.place / f"{candidate.name.replace(' ', '-')}-{number}"
    own = replace(work, place=place)
    for directory in (place, own.output, place / "tmp"):
        directory.mkdir()
    found = []
    for _verdict in range(2):
        started = time.monotonic()
        done = together(candidate.command(own), environment=own.environment())
        found.append(round(time.monotonic() - started, 2))
        if done.returncode not in candidate.fine:
            raise RuntimeError(f"{candidate.name} ended with {done.returncode}: {done.stdout[-1000:]}")
    return found


def figures_of(candidate: Candidate, work: Work, rounds: int) -> object:
    """Seconds, or why there are none."""
    if reason := candidate.why_not():
        return reason
    try:
        found = [measured(candidate, work, number) for number in range(rounds)]
    except RuntimeError as error:
        return str(error)
    return {"first": [each[0] for each in found], "second": [each[1] for each in found]}


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__.splitlines()[0])
    asked.add_argument("package", nargs="?", default="hello")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--json", type=Path, help="where the figures go, too")
    arguments = asked.parse_args()
    figures: dict[str, object] = {
        "package": arguments.package,
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory(prefix="verdicts-", dir="/var/tmp") as directory:
        place = Path(directory)
        work = prepared(arguments.package, place)
        with standing_in(work.dsc, place / "stand-in") as before:
            for candidate in CANDIDATES:
                figures[candidate.name] = figures_of(candidate, replace(work, to_snapshot=before), arguments.rounds)
                print(f"{candidate.name}: {figures[candidate.name]}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
