"""git over a work tree of Linux that lies in the base: status, and a checkout that changes many files."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.bench import Bench, Task
from benchmarks.inputs import REPOSITORY_CHANGED, repository
from benchmarks.results import Figures

TITLE = f"git in a work tree of the base: status, checkout of {REPOSITORY_CHANGED} changed files"
SECONDS = 120


def run(bench: Bench) -> None:
    archive = repository(bench.cache)
    ours = ["cowfs", "cowfs-device", "cowfs-pyfuse3"]
    names = [*ours, "overlayfs", "fuse-overlayfs", "unionfs-fuse", "copy", "cowdancer"]

    def make_base(base: Path) -> None:
        base.mkdir()
        subprocess.run(["tar", "--extract", "--file", str(archive), "--directory", str(base)], check=True)
        # A file that cowdancer keeps in the root.
        (base / ".git/info/exclude").write_text(".ilist\n")
        # So that the index knows the inodes and times of this copy.
        subprocess.run(["git", "-C", str(base), *OWN, "status", "--short"], check=True)

    bench.over_a_base({"tmpfs": names, "btrfs": ["btrfs-snapshot"]}, make_base, measure)


OWN = ("-c", "safe.directory=*", "-c", "advice.detachedHead=false", "-c", "gc.auto=0")


def measure(task: Task) -> Figures:
    with task.candidate.session(task.base, task.place) as session:
        figures: Figures = {}
        steps = {
            "first status, s": ("status", "--short"),
            "status again, s": ("status", "--short"),
            "checkout, s": ("checkout", "--quiet", "changed"),
            "checkout back, s": ("checkout", "--quiet", "original"),
        }
        for figure, arguments in steps.items():
            started = time.perf_counter()
            output = session.run("git", *OWN, *arguments)
            figures[figure] = time.perf_counter() - started
            if output:
                raise RuntimeError(f"git {arguments[0]} over {task.candidate.name} said: {output[:300]}")
        if session.run("git", *OWN, "diff", "--name-only", "changed").count("\n") != REPOSITORY_CHANGED:
            raise RuntimeError(f"the checkout over {task.candidate.name} did not change what it should")
        return figures
