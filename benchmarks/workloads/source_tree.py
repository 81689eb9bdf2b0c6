"""Unpacking and removing a source tree; the discard of a session that holds it."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, Task
from benchmarks.grounds import settle
from benchmarks.inputs import TREE_FILES, keep_first_files, linux_tree
from benchmarks.results import Figures

TITLE = "A source tree of Linux: untar, remove, discard of the session that holds it"
SECONDS = 200


def run(bench: Bench, files: int = TREE_FILES) -> None:
    tarball = linux_tree(bench.cache)
    layered = ["cowfs", "cowfs-device", "overlayfs", "overlayfs-volatile", "fuse-overlayfs", "unionfs-fuse", "copy"]
    settings = {
        "ext4": [*layered, "cowdancer", "lvm-classic", "lvm-thin"],
        "btrfs": ["btrfs-snapshot"],
        "tmpfs": ["cowfs", "cowfs-device", "overlayfs", "fuse-overlayfs", "copy"],
    }

    def make_base(base: Path) -> None:
        base.mkdir()
        keep_first_files(tarball, base / "tree.tar", files)

    bench.results.details["files"] = files
    bench.over_a_base(settings, make_base, partial(measure, files=files))


def measure(task: Task, files: int) -> Figures:
    session = task.candidate.create(task.base, task.place)
    try:
        # The archive is read once beforehand: what is measured is the writing.
        session.run("tar", "--list", "--file", "tree.tar")
        started = time.perf_counter()
        session.run("tar", "--extract", "--file", "tree.tar", "--one-top-level=tree")
        untarred = time.perf_counter()
        count = sum(len(names) for _, _, names in os.walk(session.root / "tree"))
        if count != files:
            raise RuntimeError(f"{task.candidate.name} unpacked {count} files of {files}")
        session.run("tar", "--compare", "--file", "tree.tar", "--directory", "tree")
        settle()
        removing = time.perf_counter()
        session.run("rm", "-rf", "tree")
        removed = time.perf_counter()
        if (session.root / "tree").exists():
            raise RuntimeError(f"{task.candidate.name} did not remove the tree")
        session.run("tar", "--extract", "--file", "tree.tar", "--one-top-level=tree")
        settle()
    finally:
        discarding = time.perf_counter()
        task.candidate.discard(session)
        discarded = time.perf_counter()
    return {
        "untar, s": untarred - started,
        "remove, s": removed - removing,
        "discard, s": discarded - discarding,
    }
