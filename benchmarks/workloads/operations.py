"""How long one operation takes: each done thousands of times on small files, and one large file read and written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, Task
from benchmarks.results import Figures

TITLE = "The operations one by one"
SECONDS = 210

NAMES = ("cowfs", "cowfs-device", "cowfs-pyfuse3", "overlayfs", "fuse-overlayfs", "unionfs-fuse")
LARGE_BYTES = 1 << 30

DIRECTORIES = 100
FILES = 40
"""In each directory of the base."""
NEW_FILES = 2000
CHUNK = 1 << 20


def make_base(base: Path, large_bytes: int) -> None:
    for directory in range(DIRECTORIES):
        folder = base / f"d{directory:03}"
        folder.mkdir(parents=True)
        for file in range(FILES):
            (folder / f"f{file:03}").write_bytes(b"content of a small file\n" * 50)
    with open(base / "large", "wb") as large:
        large.writelines(os.urandom(CHUNK) for _ in range(large_bytes // CHUNK))


def timed(count: int, action: Callable[[], None]) -> float:
    """Microseconds for each of `count` things that the action does."""
    started = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - started) / 1000 / count


def each(function: Callable[[str], object], paths: list[str]) -> Callable[[], None]:
    """An action that does one thing with each path."""

    def run() -> None:
        for path in paths:
            function(path)

    return run


def read(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, 65536):
        pass
    os.close(fd)


def create(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, b"x" * 3000)
    os.close(fd)


def walk(root: str) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            os.lstat(f"{folder}/{name}")


def move(path: str) -> None:
    os.rename(path, f"{path}.moved")


def change_mode(path: str) -> None:
    os.chmod(path, 0o600)


def remove_moved(path: str) -> None:
    os.unlink(f"{path}.moved")


def operations(root: str, large_bytes: int) -> Figures:
    """Microseconds for each operation, MiB/s for the large file; each checked to have had its effect."""
    directories = [f"{root}/d{number:03}" for number in range(DIRECTORIES)]
    base_files = [f"{folder}/f{number:03}" for folder in directories for number in range(FILES)]
    half = len(base_files) // 2
    some, rest = base_files[:half], base_files[half:]
    new = [f"{root}/new/n{number:04}" for number in range(NEW_FILES)]
    folders = [f"{root}/new/m{number:04}" for number in range(NEW_FILES // 4)]

    os.mkdir(f"{root}/new")
    steps: list[tuple[str, Callable[[str], object], list[str]]] = [
        ("create+write+close, us", create, new),
        ("stat after write, us", os.stat, new),
        ("stat again, us", os.stat, new),
        ("open+read+close new, us", read, new),
        ("open+read+close, us", read, rest),
        ("open+read+close again, us", read, rest),
        ("chmod, us", change_mode, new),
        ("chmod of base, us", change_mode, some),
        ("rename, us", move, new),
        ("readdir of 40 names, us", os.listdir, directories),
        ("unlink, us", remove_moved, new),
        ("unlink of base, us", os.unlink, some),
        ("mkdir, us", os.mkdir, folders),
        ("rmdir, us", os.rmdir, folders),
    ]
    results = {
        "walk, us/file": timed(len(base_files), lambda: walk(root)),
        "walk again, us/file": timed(len(base_files), lambda: walk(root)),
    }
    for name, function, paths in steps:
        results[name] = timed(len(paths), each(function, paths))
    if os.listdir(f"{root}/new") or os.path.exists(some[0]) or os.stat(rest[0]).st_size == 0:
        raise RuntimeError("the operations had not the effect that they shall have")
    if large_bytes:
        results |= large_file(root, large_bytes)
    return results


def cold_stat(root: str) -> Figures:
    """The first stat of each file, by name, in a fresh mount; then once more."""
    paths = [f"{root}/d{folder:03}/f{file:03}" for folder in range(DIRECTORIES) for file in range(FILES)]

    def stat_all() -> None:
        for path in paths:
            os.stat(path)

    return {"first stat, us": timed(len(paths), stat_all), "stat, us": timed(len(paths), stat_all)}


def large_file(root: str, size: int) -> Figures:
    chunks = size // CHUNK
    block = os.urandom(CHUNK)

    def write_it() -> None:
        with open(f"{root}/written", "wb", buffering=0) as file:
            file.writelines(block for _ in range(chunks))

    def read_it() -> None:
        with open(f"{root}/large", "rb", buffering=0) as file:
            while file.read(CHUNK):
                pass

    figures = {
        "sequential write, MiB/s": 1e6 / timed(chunks, write_it),
        "sequential read, MiB/s": 1e6 / timed(chunks, read_it),
    }
    if os.stat(f"{root}/written").st_size != size:
        raise RuntimeError("the large file was not written")
    return figures


def run(bench: Bench) -> None:
    large_bytes = LARGE_BYTES // 16 if bench.quick else LARGE_BYTES
    names = ("cowfs", "cowfs-device", "overlayfs", "fuse-overlayfs") if bench.quick else NAMES
    bench.results.details["large file, bytes"] = large_bytes
    bench.over_a_base(
        {"tmpfs": names}, partial(make_base, large_bytes=large_bytes), partial(measure, large_bytes=large_bytes)
    )


def measure(task: Task, large_bytes: int) -> Figures:
    figures: Figures = {}
    for part in ("cold_stat", "operations"):
        started = time.perf_counter()
        with task.candidate.session(task.base, task.place) as session:
            os.listdir(session.root)
            figures["mount to first answer, ms"] = (time.perf_counter() - started) * 1000
            figures |= in_a_process(part, session.root, large_bytes)
    return figures


def in_a_process(part: str, root: Path, large_bytes: int) -> Figures:
    """Runs a part in a fresh interpreter, so that no candidate inherits another's memory."""
    command = [sys.executable, "-m", "benchmarks.workloads.operations", part, str(root), str(large_bytes)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {name: float(value) for name, _, value in (line.partition("\t") for line in output.splitlines())}


if __name__ == "__main__":
    _, wanted, where, size_of_large = sys.argv
    for name, value in (cold_stat(where) if wanted == "cold_stat" else operations(where, int(size_of_large))).items():
        print(f"{name}\t{value}")
