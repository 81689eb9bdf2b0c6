"""What cowfs was meant to reach, beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.results import Results

OURS = ("cowfs", "cowfs-device")
"""With FUSE over io_uring switched on, and as kernels come."""


class Target(NamedTuple):
    what: str
    part: str
    setting: str
    figure: str
    over: str
    """The candidate that cowfs's figure is divided by; nothing for the figure itself."""
    limit: float
    at_least: bool = False


_OPERATIONS = (
    "first stat, us",
    "stat, us",
    "stat after write, us",
    "open+read+close, us",
    "open+read+close again, us",
    "open+read+close new, us",
    "create+write+close, us",
    "rename, us",
    "unlink, us",
    "unlink of base, us",
    "chmod, us",
    "chmod of base, us",
    "mkdir, us",
    "rmdir, us",
    "readdir of 40 names, us",
    "walk, us/file",
)

TARGETS = (
    Target("build of hello, over overlayfs", "hello-j2", "tmpfs", "build, s", "overlayfs", 1.03),
    Target("build of hello, over fuse-overlayfs", "hello-j2", "tmpfs", "build, s", "fuse-overlayfs", 0.80),
    Target("build of redis -j2, over overlayfs", "redis-j2", "tmpfs", "build, s", "overlayfs", 1.02),
    Target("apt-get install, over overlayfs with fsync", "install", "ext4", "apt-get install, s", "overlayfs", 0.9),
    Target(
        "apt-get install, over overlayfs volatile", "install", "ext4", "apt-get install, s", "overlayfs-volatile", 1.3
    ),
    Target("requests of a build of hello", "hello-j2", "tmpfs", "requests", "", 10_000),
    *(
        Target(f"{name.removesuffix(', us')}, over fuse-overlayfs", "operations", "tmpfs", name, "fuse-overlayfs", 1.0)
        for name in _OPERATIONS
    ),
    *(
        Target(f"{name}, over fuse-overlayfs", "operations", "tmpfs", f"{name}, MiB/s", "fuse-overlayfs", 1.0, True)
        for name in ("sequential read", "sequential write")
    ),
    Target("mount to first answer, s", "sessions", "tmpfs", "create to first answer, s", "", 0.25),
    Target("unmount with discard of 20,000 files, s", "source-tree", "tmpfs", "discard, s", "", 0.5),
    Target("memory after a walk of 100,000 files, MB", "growth", "tmpfs", "100000: memory after the walk, MB", "", 150),
)


def measured(target: Target, results: Mapping[str, Results], candidate: str) -> float | None:
    """A cowfs's median, over another's where the target says so; None where that was not measured."""
    values = results[target.part].values if target.part in results else {}
    by_candidate = values.get(target.setting, {}).get(target.figure, {})
    if candidate not in by_candidate or (target.over and target.over not in by_candidate):
        return None
    over = statistics.median(by_candidate[target.over]) if target.over else 1.0
    return statistics.median(by_candidate[candidate]) / over


def table(results: Mapping[str, Results]) -> list[str]:
    """A row for each target. What is not met is bold."""
    lines = ["| | target | " + " | ".join(OURS) + " |", "|---" * (2 + len(OURS)) + "|"]
    for target in TARGETS:
        cells = [_cell(target, measured(target, results, candidate)) for candidate in OURS]
        limit = f"{'>=' if target.at_least else '<='} {target.limit:,g}"
        lines.append(f"| {target.what} | {limit} | " + " | ".join(cells) + " |")
    return lines


def _cell(target: Target, value: float | None) -> str:
    if value is None:
        return "-"
    shown = f"{value:.0f}" if value >= 1000 else f"{value:.2f}"
    met = value >= target.limit if target.at_least else value <= target.limit
    return shown if met else f"**{shown}**"
