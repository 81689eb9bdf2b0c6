"""Every name of a Debian base looked at: the first time ever, the first time in a mount, and again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench import Bench, Task
from benchmarks.grounds import forget_caches
from benchmarks.inputs import debian
from benchmarks.results import Figures

TITLE = "Walk of a Debian base: lstat of every file"
WALK = "import os; [os.lstat(f'{top}/{name}') for top, _, names in os.walk('.') for name in names]"
SECONDS = 90


def run(bench: Bench) -> None:
    source = debian(bench.cache, bench.suite)
    kernel = ["overlayfs", "copy", "cowdancer"]
    user_space = ["cowfs", "cowfs-device", "cowfs-pyfuse3", "fuse-overlayfs", "unionfs-fuse"]
    settings = {"ext4": [*kernel, *user_space, "lvm-classic", "lvm-thin"], "btrfs": ["btrfs-snapshot"]}

    def make_base(base: Path) -> None:
        subprocess.run(["cp", "-a", str(source), str(base)], check=True)

    bench.over_a_base(settings, make_base, measure)


def measure(task: Task) -> Figures:
    with task.candidate.session(task.base, task.place) as session:
        # Not find: with base and layer on two file systems, fuse-overlayfs at times gives two directories one inode
        # number, and find refuses what looks like a loop.
        command = session.command(sys.executable, "-c", WALK)
        figures: Figures = {}
        forget_caches()
        for figure in ("walk, nothing cached, s", "walk again, s"):
            started = time.perf_counter()
            subprocess.run(command, cwd=session.root, check=True)
            figures[figure] = time.perf_counter() - started
        names = sum(len(folders) + len(files) for _, folders, files in os.walk(session.root))
        if names < 1000 or (task.base.is_dir() and names < sum(len(f) for _, _, f in os.walk(task.base))):
            raise RuntimeError(f"{task.candidate.name} shows {names} names only")
        return {**figures, "names": float(names)}
