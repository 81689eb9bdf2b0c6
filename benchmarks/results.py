"""What a benchmark measured: every value of every round, with all that one must know to compare it later, as JSON."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from setup import io_uring_switch

DIRECTORY = Path(__file__).with_name("results")

Figures = dict[str, float]
"""What is measured, its unit after the last comma -> value."""

PACKAGES = ("fuse-overlayfs", "unionfs-fuse", "cowdancer", "btrfs-progs", "lvm2", "tar", "zstd", "git")


@dataclass
class Results:
    """The values of one workload. `values`: setting -> figure -> candidate -> one for each round."""

    name: str
    title: str
    values: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    """Setting -> candidate -> why it was not measured."""
    details: dict[str, Any] = field(default_factory=dict)
    """What was worked on: sizes, versions."""
    machine: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, setting: str, candidate: str, figures: Figures) -> None:
        by_figure = self.values.setdefault(setting, {})
        for figure, value in figures.items():
            by_figure.setdefault(figure, {}).setdefault(candidate, []).append(value)

    def leave_out(self, setting: str, candidate: str, reason: str) -> None:
        self.left_out.setdefault(setting, {})[candidate] = reason
        say(f"  {candidate} on {setting} is left out: {reason}")

    def save(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        content = {
            "title": self.title,
            "machine": self.machine or machine(),
            "seconds": round(self.seconds, 1),
            "details": self.details,
            "left_out": self.left_out,
            "values": rounded(self.values),
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path


def load(path: Path) -> Results:
    content = json.loads(path.read_text())
    return Results(
        path.stem,
        content["title"],
        content["values"],
        content["left_out"],
        content["details"],
        content["machine"],
        content["seconds"],
    )


def rounded(value: Any) -> Any:
    """Five digits: what is behind them is noise."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}")


def machine() -> dict[str, Any]:
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split()[1]
    listed = subprocess.run(["dpkg-query", "--show", *PACKAGES], capture_output=True, text=True, check=False).stdout
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "kernel": platform.release(),
        "processor": processors[0].partition(":")[2].strip() if processors else platform.machine(),
        "processors": os.cpu_count(),
        "memory_gib": round(int(memory) / (1 << 20), 1),
        "fuse_over_io_uring": io_uring_switch.offered(),
        "load_before": os.getloadavg()[0],
        "versions": {"python": platform.python_version()} | dict(line.split("\t") for line in listed.splitlines()),
    }


def _commit() -> str:
    if not shutil.which("git"):
        return "unknown"
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def say(line: str) -> None:
    """Progress, for who waits."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
