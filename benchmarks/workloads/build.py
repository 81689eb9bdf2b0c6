"""A real package built in a chroot, from the unpacking of its source to the .debs: wall time, and cowfs's requests.

Candidates of which that is said (`plain_directories`) build in a plain directory, and have one for /tmp.
hello does little but run its configure script, redis compiles; each as an ordinary user, with one job and with two.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from benchmarks.bench import Bench, Task
from benchmarks.candidates.interface import Session
from benchmarks.inputs import package_base
from benchmarks.requests import requests, since
from benchmarks.results import Figures
from builder.session import own_directories

CONFIGURE_HEAVY, COMPILE_HEAVY = "hello", "redis"
BUILDER = 1000
"""The user who builds, and his group: no one in particular."""
SECONDS_LIMIT = 1800

SCRIPT = """
set -e
cd /build
dpkg-source --no-check -x source/*.dsc tree >/dev/null
cd tree
dpkg-buildpackage -b -us -uc -j{jobs} >/build/log 2>&1
"""


def run(bench: Bench, package: str, jobs: int, names: Sequence[str], options: str = "") -> None:
    cached, source = package_base(bench.cache, package, bench.suite)

    def make_base(base: Path) -> None:
        subprocess.run(["cp", "-a", str(cached), str(base)], check=True)

    def measure(task: Task) -> Figures:
        candidate = task.candidate
        with candidate.session(task.base, task.place) as session:
            (session.root / "build").mkdir()
            with plain_directories(session) if candidate.plain_directories else nullcontext():
                return build(session.root, source, jobs, options)

    bench.results.details |= {"package": next(source.glob("*.dsc")).stem, "jobs": jobs, "options": options}
    bench.over_a_base({"tmpfs": names}, make_base, measure)


def build(root: Path, source: Path, jobs: int, options: str = "") -> Figures:
    """Builds in the mounted base, as an ordinary user. RuntimeError with the log's end if no .deb came out."""
    place = root / "build"
    shutil.copytree(source, place / "source", ignore=shutil.ignore_patterns("apt"))
    for path in (place, *place.rglob("*")):
        os.chown(path, BUILDER, BUILDER)
    with kernel_file_systems(root):
        before = requests(root)
        processor = children_seconds()
        started = time.monotonic()
        script = SCRIPT.format(jobs=jobs)
        command = ["chroot", f"--userspec={BUILDER}:{BUILDER}", str(root), "sh", "-c", script]
        environment = {"PATH": os.defpath + ":/usr/sbin:/sbin", "HOME": "/nonexistent", "LC_ALL": "C"}
        environment["DEB_BUILD_OPTIONS"] = options
        result = subprocess.run(command, env=environment, check=False, timeout=SECONDS_LIMIT)
        figures = {"build, s": time.monotonic() - started}
        figures["processor of the build itself, s"] = children_seconds() - processor
        if result.returncode or not list(place.glob("*.deb")):
            log = (place / "log").read_text(errors="replace")
            raise RuntimeError(f"the build failed: {log[-2000:]}")
        if before:
            between = since(before, requests(root))
            figures["requests"] = float(sum(between.values()))
            figures |= {f"  {name}": float(count) for name, count in between.items()}
        return figures


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def plain_directories(session: Session) -> Iterator[None]:
    """/build and /tmp, both empty, as cowbuild has them. RuntimeError where they cannot be so."""
    own = session.place / "own"
    paths = ("/build", "/tmp")
    if why := "".join(own_directories.add(session.root, own, path) for path in paths):
        raise RuntimeError(f"/build and /tmp are not plain: {why}")
    try:
        yield
    finally:
        subprocess.run(["umount", *(f"{session.root}{path}" for path in paths)], check=True)


@contextmanager
def kernel_file_systems(root: Path) -> Iterator[None]:
    """/proc and /dev in a chroot."""
    for name in ("proc", "dev"):
        subprocess.run(["mount", "--rbind", "--make-rslave", f"/{name}", str(root / name)], check=True)
    try:
        yield
    finally:
        for name in ("proc", "dev"):
            subprocess.run(["umount", "--recursive", str(root / name)], check=True)
