"""What cowfs was meant to reach, beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.results import Results
from benchmarks.workloads.whole_builds import FIRST_LINE

OURS = ("cowfs", "cowfs-device")
"""With FUSE over io_uring switched on, and as kernels come."""


BUILDS, BUILDS_AGAIN = ("cowbuild", "cowbuild-device"), ("cowbuild-again", "cowbuild-device-again")


class Target(NamedTuple):
    what: str
    part: str
    setting: str
    figure: str
    over: str
    """The candidate that cowfs's figure is divided by; nothing for the figure itself."""
    limit: float
    at_least: bool = False
    ours: tuple[str, str] = OURS


_OPERATIONS = {
    "first stat, us": 1.2,
    "stat, us": 1.2,
    "stat after write, us": 1.2,
    "open+read+close, us": 1.2,
    "open+read+close again, us": 1.2,
    "open+read+close new, us": 1.2,
    "create+write+close, us": 1.0,
    "rename, us": 1.0,
    "unlink, us": 1.0,
    "unlink of base, us": 1.2,
    "chmod, us": 1.2,
    "chmod of base, us": 1.0,
    "mkdir, us": 1.0,
    "rmdir, us": 1.2,
    "readdir of 40 names, us": 1.2,
    "walk, us/file": 1.0,
}

_WHOLE = ("whole-builds", "hello", "whole build, s")
_INSTALL = ("install", "ext4", "apt-get install, s")

TARGETS = (
    Target("whole build of hello, the first time, over sbuild unshare", *_WHOLE, "sbuild-unshare", 0.6, ours=BUILDS),
    Target("the same again", *_WHOLE, "sbuild-unshare", 0.48, ours=BUILDS_AGAIN),
    Target("whole build of hello, the first time, over cowbuilder", *_WHOLE, "cowbuilder", 0.95, ours=BUILDS),
    Target("the same again", *_WHOLE, "cowbuilder", 0.72, ours=BUILDS_AGAIN),
    Target(
        "second build, command to dpkg-buildpackage, s", "whole-builds", "hello", FIRST_LINE, "", 0.7, ours=BUILDS_AGAIN
    ),
    Target("build of hello, over overlayfs", "hello-j2", "tmpfs", "build, s", "overlayfs", 1.03),
    Target("build of redis -j2, over overlayfs", "redis-j2", "tmpfs", "build, s", "overlayfs", 1.02),
    Target("requests of a build of hello", "hello-j2", "tmpfs", "requests", "", 10_000),
    Target("apt-get install, over overlayfs with fsync", *_INSTALL, "overlayfs", 1.0),
    Target("apt-get install, over overlayfs volatile", *_INSTALL, "overlayfs-volatile", 1.35),
    *(
        Target(
            f"{name.removesuffix(', us')}, over fuse-overlayfs", "operations", "tmpfs", name, "fuse-overlayfs", limit
        )
        for name, limit in _OPERATIONS.items()
    ),
    *(
        Target(f"{name}, over fuse-overlayfs", "operations", "tmpfs", f"{name}, MiB/s", "fuse-overlayfs", 1.0, True)
        for name in ("sequential read", "sequential write")
    ),
    *(
        Target(
            f"{name.removesuffix(', us')}, io_uring over /dev/fuse", "operations", "tmpfs", name, "cowfs-device", 1.0
        )
        for name in ("stat, us", "create+write+close, us", "open+read+close, us")
    ),
    Target("mount to first answer, s", "sessions", "tmpfs", "create to first answer, s", "", 0.09),
    Target("unmount with discard of 20,000 files, s", "source-tree", "tmpfs", "discard, s", "", 0.15),
    Target(
        "memory after a walk of a million files, MB", "growth", "tmpfs", "1000000: memory after the walk, MB", "", 280
    ),
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
    # cowbuild's stand in cowfs's columns.
    lines = ["| | target | " + " | ".join(OURS) + " |", "|---" * (2 + len(OURS)) + "|"]
    for target in TARGETS:
        cells = [_cell(target, measured(target, results, candidate)) for candidate in target.ours]
        limit = f"{'>=' if target.at_least else '<='} {target.limit:,g}"
        lines.append(f"| {target.what} | {limit} | " + " | ".join(cells) + " |")
    return lines


def _cell(target: Target, value: float | None) -> str:
    if value is None:
        return "-"
    shown = f"{value:.0f}" if value >= 1000 else f"{value:.2f}"
    met = value >= target.limit if target.at_least else value <= target.limit
    return shown if met else f"**{shown}**"
