"""Runs the benchmarks: each part by itself, within its time, with a file of results for each.

    python -m benchmarks.run [PART...] [--rounds N] [--candidates cowfs,overlayfs] [--results DIRECTORY]

Needs root. `--list` shows the parts and how long each may take.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench import Bench
from benchmarks.builders import BUILDERS
from benchmarks.candidates import CANDIDATES
from benchmarks.grounds import KINDS
from benchmarks.isolation import alone, in_a_namespace
from benchmarks.results import DIRECTORY, Results, machine, say
from benchmarks.workloads import (
    build,
    git,
    growth,
    install,
    operations,
    parallel,
    sessions,
    source_tree,
    walk,
    whole_builds,
)
from builder.debian.apt import machine_suite
from builder.problems import Problem
from setup import io_uring_switch


class Part(NamedTuple):
    title: str
    seconds: int
    """No further round is begun when it would last longer."""
    rounds: int
    run: Callable[[Bench], None]
    quick: bool = False
    """Short enough, and telling enough, for a first impression."""


_HELLO = partial(build.run, package=build.CONFIGURE_HEAVY)
_REDIS = partial(build.run, package=build.COMPILE_HEAVY, options="nocheck")
_FEW = ("cowfs", "cowfs-device", "overlayfs", "overlayfs-plain")

PARTS = {
    "whole-builds": Part(whole_builds.TITLE, whole_builds.SECONDS, 5, whole_builds.run),
    "sessions": Part(sessions.TITLE, sessions.SECONDS, 3, sessions.run, quick=True),
    "operations": Part(operations.TITLE, operations.SECONDS, 5, operations.run, quick=True),
    "walk": Part(walk.TITLE, walk.SECONDS, 3, walk.run),
    "source-tree": Part(source_tree.TITLE, source_tree.SECONDS, 3, source_tree.run),
    "git": Part(git.TITLE, git.SECONDS, 3, git.run),
    "parallel": Part(parallel.TITLE, parallel.SECONDS, 3, parallel.run),
    "growth": Part(growth.TITLE, growth.SECONDS, 3, growth.run, quick=True),
    "install": Part("apt-get installs the build dependencies of cmake", 300, 5, partial(install.run, package="cmake")),
    "hello-j2": Part("Build of hello, -j2", 600, 5, partial(_HELLO, jobs=2, names=(*_FEW, "fuse-overlayfs"))),
    "hello-j1": Part("Build of hello, -j1", 150, 2, partial(_HELLO, jobs=1, names=_FEW)),
    "redis-j2": Part("Build of redis, -j2", 560, 5, partial(_REDIS, jobs=2, names=_FEW)),
    "redis-j1": Part("Build of redis, -j1", 270, 1, partial(_REDIS, jobs=1, names=_FEW)),
}
GUEST_TREE_FILES = 4000
GUEST_PARTS = {
    **{name: PARTS[name] for name in ("sessions", "walk")},
    "source-tree": Part(source_tree.TITLE, 150, 3, partial(source_tree.run, files=GUEST_TREE_FILES)),
    "install-hello": Part(
        "apt-get installs the build dependencies of hello", 200, 3, partial(install.run, package="hello")
    ),
}
"""What benchmarks/vm.py runs in its guest, where all is slower."""

QUICK_SECONDS = 60
QUICK_ROUNDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which to run; all, when none is named")
    parser.add_argument("--list", action="store_true", help="show the parts, with the seconds each may take")
    parser.add_argument("--quick", action="store_true", help="some parts, smaller, for a first impression")
    parser.add_argument("--rounds", type=int, help="instead of what each part has, however long they take")
    parser.add_argument("--candidates", default="", help="only these, with commas between them")
    parser.add_argument("--grounds", default="", help="only on these file systems, with commas between them")
    parser.add_argument("--guest", action="store_true", help="the parts that are run in a virtual machine")
    parser.add_argument("--suite", help="the Debian release of the bases; the machine's, when none is named")
    parser.add_argument("--cache", type=Path, default=Path(".cache").absolute(), help="bases and sources made once")
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp/cowfs-bench"), help="on the disk to be measured")
    parser.add_argument("--results", type=Path, default=DIRECTORY, help="where to put a JSON file for each part")
    options = parser.parse_args()
    parts = GUEST_PARTS if options.guest else PARTS
    if options.list:
        for name, part in parts.items():
            print(f"{name:<12} {part.seconds:>4} s  {part.title}")
        return
    only, grounds = (tuple(filter(None, given.split(","))) for given in (options.candidates, options.grounds))
    checked = (
        (options.parts, parts, "part"),
        (only, {**CANDIDATES, **BUILDERS}, "candidate"),
        (grounds, KINDS, "file system"),
    )
    for given, known, kind in checked:
        if unknown := [name for name in given if name not in known]:
            parser.error(f"no such {kind}: {', '.join(unknown)}. There are {', '.join(known)}.")
    in_a_namespace("benchmarks.run")
    options.suite = options.suite or machine_suite()
    chosen = options.parts or [name for name, part in parts.items() if part.quick or not options.quick]
    with alone(options.scratch), io_uring_switch.switched_on():
        failed = [name for name in chosen if not run_part(name, parts[name], options, only, grounds)]
    if failed:
        sys.exit(f"Not all was measured, see above: {', '.join(failed)}")


def run_part(
    name: str, part: Part, options: argparse.Namespace, only: tuple[str, ...], grounds: tuple[str, ...]
) -> bool:
    """Whether it could be measured. A part that fails does not keep the others from being measured."""
    results = Results(name, part.title, machine=machine())
    bench = Bench(
        results,
        options.scratch,
        options.cache,
        options.suite,
        options.rounds or (QUICK_ROUNDS if options.quick else part.rounds),
        float("inf") if options.rounds else QUICK_SECONDS if options.quick else part.seconds,
        only,
        grounds,
        options.quick,
    )
    limit = "" if options.rounds else f", at most {bench.seconds:.0f} s"
    say(f"{name}: {part.title}, {bench.rounds} rounds{limit}")
    started = time.monotonic()
    try:
        part.run(bench)
    except (OSError, RuntimeError, ValueError, subprocess.SubprocessError, Problem) as error:
        say(f"{name} failed: {error}")
        return False
    results.seconds = time.monotonic() - started
    say(f"{name}: {results.seconds:.0f} s, {results.save(options.results)}")
    return not bench.failed


if __name__ == "__main__":
    main()
