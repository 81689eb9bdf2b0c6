"""The base that all tests of the builder share; made once and kept in .cache."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import apt
from builder.checksum import checksum
from tests.builder.packages import COWBUILD, Base, Workplace

CACHE = Path(__file__).parents[2] / ".cache"


@pytest.fixture(scope="session")
def base() -> Base:
    if os.geteuid() != 0:
        pytest.skip("needs root: builds in sessions")
    suite = apt.machine_suite()
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"base-{suite}"
    # Test processes that run side by side wait for the one that makes it.
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            subprocess.run([*COWBUILD, "create", path, "--suite", suite], check=True)
        return Base(path, checksum(path))


@pytest.fixture
def work(base: Base, tmp_path: Path) -> Iterator[Workplace]:
    workplace = Workplace(tmp_path, base)
    workplace.sessions.mkdir()
    workplace.output.mkdir()
    yield workplace
    base.assert_unchanged()
    workplace.assert_nothing_left()
