"""`make demo`: a base, a source package, a build over the base, and the proof that the base is as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder import user_namespace
from builder.debian import apt, base_facts
from builder.problems import Problem
from builder.process import output as output_of

PACKAGES = ("hello", "hostname", "sl")
"""The first that can be had: a mirror may lack a file of the archive's."""
BASES = Path(".cache").absolute()
COWBUILD = (sys.executable, "-P", "-m", "builder")

NEXT = """== To try next
{bin}/cowbuild shell {base}                     # change and break anything in it: the base stays
{bin}/cowbuild build PACKAGE --base {base}      # one of the archive's, a .dsc, or a source tree
mkdir mnt; {bin}/cowfs /usr mnt; touch mnt/new; umount mnt   # copy-on-write over any directory"""


class Clock:
    """How long each stage took, in the order in which they came."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        yield
        self.stages.append((name, time.monotonic() - started))

    def report(self) -> None:
        print("== How long each stage took")
        for name, seconds in self.stages:
            print(f"{seconds:7.1f} s  {name}")


def demonstrate(place: Path) -> int:
    """The artifacts are left in `place` to be looked at; the base is kept for the next run, and for the tests."""
    clock = Clock()
    for directory in (place, BASES):
        directory.mkdir(exist_ok=True)
    suite = apt.machine_suite()
    clean = _base_of(suite, clock)
    fetched, output = place / "source", place / "output"
    for directory in (fetched, output):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
    with clock.stage(f"Fetch the source package {PACKAGES[0]} with apt"):
        package, dsc = fetch(suite, fetched)
        print(dsc.name)
    with clock.stage("Checksum over the whole base, before"):
        before = _checksum(clean)
        print(before)
    with clock.stage(f"Build {dsc.name} in a session: {output}"):
        built = subprocess.run(
            [*COWBUILD, "build", dsc, "--base", clean, "--output", output], stdout=subprocess.PIPE, check=False
        )
        closing = built.stdout.decode(errors="replace").rpartition("| Summary")[2].splitlines()[3:]
        print("\n".join(closing))
    if built.returncode != 0:
        print(f"The build failed. Its log is in {output}", file=sys.stderr)
        return built.returncode
    print("== What it made")
    for path in sorted(output.iterdir()):
        print(f"{path.lstat().st_size:9} {path.name}")
    made = next(output.glob(f"{package}_*_{base_facts.architecture(clean)}.deb"))
    print(f"== What is in {made.name}")
    print(subprocess.check_output(["dpkg-deb", "--contents", made], text=True))
    with clock.stage("Checksum over the whole base, after"):
        after = _checksum(clean)
        print(after)
    clock.report()
    if after != before:
        print("== THE BASE HAS CHANGED", file=sys.stderr)
        return 1
    print("== The base is unchanged: both checksums are equal")
    print(NEXT.format(bin=os.path.relpath(Path(sys.executable).parent), base=os.path.relpath(clean)))
    return 0


def _base_of(suite: str, clock: Clock) -> Path:
    clean = BASES / f"base-{suite}"
    if clean.exists():
        print(f"== Using the base made earlier: {clean}")
    else:
        with clock.stage(f"Make a base of {suite} with mmdebstrap: {clean}"):
            subprocess.run([*COWBUILD, "create", clean, "--suite", suite], check=True)
    return clean


def fetch(suite: str, directory: Path) -> tuple[str, Path]:
    """The name and .dsc of the first of PACKAGES that can be had. Problem, the first one's, when none can."""
    first: Problem | None = None
    for name in PACKAGES:
        place = directory / name
        place.mkdir()
        try:
            dsc = apt.download_source(name, None, suite, place)
        except Problem as problem:
            print(f"{problem}:\n    {problem.hint}", flush=True)
            first = first or problem
        else:
            if first is not None:
                print(f"Taking {name} instead of {PACKAGES[0]}")
            return name, dsc
    assert first is not None
    raise first


def _checksum(tree: Path) -> str:
    """setup.checksum's, of a base whose files a plain user may read only in the user namespace."""
    return output_of([*user_namespace.before(), sys.executable, "-P", "-m", "setup.checksum", tree]).strip()


def main() -> int:
    try:
        return demonstrate(Path(".demo").absolute())
    except Problem as problem:
        print(f"demo: {problem}\n    {problem.hint}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failure:
        return failure.returncode


if __name__ == "__main__":
    sys.exit(main())
