"""A session from nothing to nothing: create, the first command, a first change, what it takes on disk, discard."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from benchmarks.bench import Bench, Task
from benchmarks.candidates import CANDIDATES
from benchmarks.grounds import settle
from benchmarks.inputs import debian
from benchmarks.results import Figures

TITLE = "A session over a Debian base: create and discard"
SECONDS = 180

CHANGED = "etc/debian_version"


def run(bench: Bench) -> None:
    source = debian(bench.cache, bench.suite)
    everywhere = [name for name in CANDIDATES if name not in ("reflink", "btrfs-snapshot")]
    settings = {
        "ext4": everywhere,
        "btrfs": ["btrfs-snapshot", "reflink", "overlayfs", "cowfs"],
        "xfs": ["reflink", "copy", "overlayfs", "cowfs"],
        "tmpfs": [name for name in everywhere if not name.startswith("lvm")],
    }
    if bench.quick:
        settings = {"tmpfs": ["cowfs", "cowfs-device", "overlayfs", "copy"]}

    def make_base(base: Path) -> None:
        subprocess.run(["cp", "-a", str(source), str(base)], check=True)

    bench.over_a_base(settings, make_base, measure)
    bench.results.details["base"] = f"{sum(len(files) for _, _, files in os.walk(source))} files"
    bench.results.details["needs"] = {name: candidate.needs._asdict() for name, candidate in CANDIDATES.items()}


def measure(task: Task) -> Figures:
    started = time.perf_counter()
    session = task.candidate.create(task.base, task.place)
    os.listdir(session.root)
    created = time.perf_counter()
    try:
        session.run("true")
        entered = time.perf_counter()
        session.run("sh", "-c", f"echo changed >> {CHANGED}; echo new > new")
        if not (session.root / CHANGED).read_text().endswith("changed\n") or not (session.root / "new").exists():
            raise RuntimeError(f"{task.candidate.name} did not change what it was asked to")
        settle()
        used = session.disk_used()
    finally:
        discarding = time.perf_counter()
        task.candidate.discard(session)
        discarded = time.perf_counter()
    if task.place.exists():
        shutil.rmtree(task.place)
        raise RuntimeError(f"{task.candidate.name} left something in {task.place}")
    return {
        "create to first answer, s": created - started,
        "first command, s": entered - created,
        "discard, s": discarded - discarding,
        "disk used, MB": used / 1e6,
    }
