"""Bases of 10 thousand, 100 thousand and a million files: mount, look-up, walk, memory, and unmount."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, Task
from benchmarks.candidates.interface import Session
from benchmarks.results import Figures

TITLE = "Growth with the number of files in the base"
SECONDS = 120

NAMES = ("cowfs", "cowfs-device", "overlayfs", "fuse-overlayfs")
SIZES = (10_000, 100_000, 1_000_000)
IN_A_DIRECTORY = 1000
LOOKED_UP = 5000


def run(bench: Bench) -> None:
    for size in SIZES[:1] if bench.quick else SIZES:
        bench.over_a_base({"tmpfs": NAMES}, _base_of(size), partial(measure, size=size), read_only=True)


def _base_of(size: int) -> Callable[[Path], None]:
    def make(base: Path) -> None:
        for directory in range(size // IN_A_DIRECTORY):
            folder = f"{base}/d{directory:04}"
            os.makedirs(folder)
            for number in range(IN_A_DIRECTORY):
                os.close(os.open(f"{folder}/f{number:04}", os.O_CREAT | os.O_WRONLY, 0o644))

    return make


def measure(task: Task, size: int) -> Figures:
    started = time.perf_counter()
    session = task.candidate.create(task.base, task.place)
    try:
        os.listdir(session.root)
        mounted = time.perf_counter()
        figures: Figures = {f"{size}: mount to first answer, ms": (mounted - started) * 1000}
        if session.daemon:
            figures[f"{size}: memory at first, MB"] = resident(session)
        step = size // LOOKED_UP
        chosen = [f"d{n // IN_A_DIRECTORY:04}/f{n % IN_A_DIRECTORY:04}" for n in range(0, size, step)]
        looking = time.perf_counter()
        for name in chosen:
            os.stat(f"{session.root}/{name}")
        figures[f"{size}: look-up, us"] = (time.perf_counter() - looking) * 1e6 / len(chosen)
        walking = time.perf_counter()
        # With attributes asked for, as ls -l does; into a pipe that throws all away but the count.
        listed = session.run("sh", "-c", "find . -type f -size -1 -printf '\\n' | wc -l")
        figures[f"{size}: walk, us for each"] = (time.perf_counter() - walking) * 1e6 / size
        if int(listed) != size:
            raise RuntimeError(f"{task.candidate.name} shows {listed} files of {size}")
        if session.daemon:
            figures[f"{size}: memory after the walk, MB"] = resident(session)
    finally:
        discarding = time.perf_counter()
        task.candidate.discard(session)
        discarded = time.perf_counter()
    return {**figures, f"{size}: unmount and discard, s": discarded - discarding}


def resident(session: Session) -> float:
    if session.daemon is None:
        return 0.0
    status = Path(f"/proc/{session.daemon.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
