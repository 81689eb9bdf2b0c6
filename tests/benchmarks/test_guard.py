"""The guard: cowfs must not ask more often than it did for the same work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.guard import BASELINE, WORKLOADS, grown


def guard(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.guard", "--scratch", str(place / "scratch"), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "COWFS_BENCH_NAMESPACE"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_committed_baseline_has_every_workload() -> None:
    kept = json.loads(BASELINE.read_text())
    assert kept["requests"].keys() == WORKLOADS.keys()
    assert kept["machine"]["kernel"]


def test_what_grows_by_more_than_three_percent_is_named_with_its_requests() -> None:
    baseline = {"untar": {"CREATE": 100, "WRITE": 900}}
    assert grown(baseline, {"untar": {"CREATE": 100, "WRITE": 930}}) == []
    [line] = grown(baseline, {"untar": {"CREATE": 100, "WRITE": 900, "GETXATTR": 31}})
    assert line.startswith("untar: 1031 requests, +3.1%")
    assert "GETXATTR +31" in line


@pytest.mark.root
def test_the_guard_passes_on_its_own_count_and_fails_on_a_growth(place: Path) -> None:
    baseline = place / "baseline.json"
    made = guard(place, "--baseline", str(baseline), "--update-baseline", "remove")
    assert made.returncode == 0, made.stderr
    passed = guard(place, "--baseline", str(baseline), "remove")
    assert passed.returncode == 0, passed.stderr
    content = json.loads(baseline.read_text())
    content["requests"]["remove"]["UNLINK"] -= 500
    baseline.write_text(json.dumps(content))
    failed = guard(place, "--baseline", str(baseline), "remove")
    assert failed.returncode == 1
    assert "remove: " in failed.stderr
    assert "UNLINK +500" in failed.stderr
    assert "Traceback" not in failed.stderr
