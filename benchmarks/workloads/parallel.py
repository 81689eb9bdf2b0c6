"""Many sessions at once over one base: each created, a small C project compiled in it, discarded."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import project
from benchmarks.bench import Bench, Task
from benchmarks.inputs import debian
from benchmarks.results import Figures

TITLE = "Many sessions at once over one base, each compiles a small project"
SECONDS = 90

NAMES = ("cowfs", "cowfs-device", "overlayfs", "fuse-overlayfs", "copy")
AT_ONCE = (1, 2, 4, 8)


def run(bench: Bench) -> None:
    source = debian(bench.cache, bench.suite)

    def make_base(base: Path) -> None:
        subprocess.run(["cp", "-a", str(source), str(base)], check=True)
        project.write(base / "project")

    bench.over_a_base({"tmpfs": NAMES}, make_base, measure)


def measure(task: Task) -> Figures:
    figures: Figures = {}
    for count in AT_ONCE:
        with ThreadPoolExecutor(count) as pool:
            started = time.perf_counter()
            list(pool.map(lambda number: compile_in(task, number), range(count)))
            figures[f"{count} at once, s for each"] = (time.perf_counter() - started) / count
    return figures


def compile_in(task: Task, number: int) -> None:
    with task.candidate.session(task.base, task.place.with_name(f"{task.place.name}-{number}")) as session:
        session.run("sh", "-c", "cd /project && make -s && ./project", chroot=[])
