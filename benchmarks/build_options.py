"""What options of `cowbuild build` cost that keep something of a build: whole builds, again from kept dependencies.

    python -m benchmarks.build_options [PACKAGE] [--rounds N]

A round has one build with each, one after the other, so that what changes on the machine meets all of them. Printed are
the seconds of each round, and of the option with states how many there were.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from builder.debian import apt
from tests.builder.packages import COWBUILD

CANDIDATES = {
    "plain directories": (),
    "--in-union build,tmp": ("--in-union", "build,tmp"),
    "--snapshot-steps": ("--snapshot-steps",),
    "--incremental": ("--incremental",),
}


def build(dsc: Path, base: Path, place: Path, options: tuple[str, ...]) -> tuple[float, str]:
    """Seconds, and what it printed. CalledProcessError."""
    own = {f"XDG_{kind}_HOME": str(place / kind) for kind in ("CACHE", "STATE")}
    command = [*COWBUILD, "build", str(dsc), "--base", str(base), "--output", str(place), "--deps-cache-age", "9999"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, *options],
        env={**os.environ, **own, "TMPDIR": str(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        check=True,
    )
    return round(time.monotonic() - started, 2), done.stdout


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.build_options", description=__doc__.splitlines()[0])
    asked.add_argument("package", nargs="?", default="hello")
    asked.add_argument("--rounds", type=int, default=3)
    arguments = asked.parse_args()
    suite = apt.machine_suite()
    base = Path(".cache").absolute() / f"base-{suite}"
    with tempfile.TemporaryDirectory(prefix="build-options-", dir="/var/tmp") as place:
        dsc = apt.download_source(arguments.package, None, suite, Path(place))
        # What each needs from an earlier time is there when it is measured.
        for options in CANDIDATES.values():
            build(dsc, base, Path(place), options)
        rounds: dict[str, list[tuple[float, str]]] = {name: [] for name in CANDIDATES}
        for _ in range(arguments.rounds):
            for name, options in CANDIDATES.items():
                rounds[name].append(build(dsc, base, Path(place), options))
                print(f"{name}: {rounds[name][-1][0]}", file=sys.stderr, flush=True)
        for name, figures in rounds.items():
            states = len(re.findall(r"^  \d\d-dh_", figures[-1][1], re.MULTILINE))
            print(f"{name}: {[seconds for seconds, _ in figures]}{f', {states} states' if states else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
