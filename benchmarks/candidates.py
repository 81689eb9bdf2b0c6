"""The file systems that are measured side by side, each as a mounted copy-on-write view of one base."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_NAMESPACE_MADE = "COWFS_BENCH_NAMESPACE"

MOUNT_SECONDS = 10.0
"""A candidate that is not mounted after so long has failed."""


def in_a_namespace(module: str) -> None:
    """Starts the module again in a mount namespace of its own, unless that was done.

    Somebody who makes a namespace meanwhile would else keep a copy of each mount, and its daemon would not end.
    """
    if os.environ.get(_NAMESPACE_MADE):
        return
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", module, *sys.argv[1:]]
    os.execvpe(command[0], command, {**os.environ, _NAMESPACE_MADE: "yes"})


class Layers(NamedTuple):
    """Where a candidate keeps things: all on one file system, and fresh for each round."""

    base: Path
    layer: Path
    mountpoint: Path


class Candidate(NamedTuple):
    name: str
    start: Callable[[Layers], "subprocess.Popen[bytes] | None"]
    """Mounts. Returns the daemon that runs in the foreground, None for what the kernel does alone."""


def _cowfs(engine: str) -> Callable[[Layers], "subprocess.Popen[bytes] | None"]:
    def start(at: Layers) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "cowfs.cli", "-f", "--engine", engine, "--layer", str(at.layer)]
        return subprocess.Popen([*command, "-o", "allow_other,nosuid", str(at.base), str(at.mountpoint)])

    return start


def _upper_and_work(at: Layers) -> str:
    for name in ("upper", "work"):
        (at.layer / name).mkdir(parents=True)
    return f"lowerdir={at.base},upperdir={at.layer}/upper,workdir={at.layer}/work"


def _overlayfs(extra: str = "") -> Callable[[Layers], "subprocess.Popen[bytes] | None"]:
    def start(at: Layers) -> None:
        options = _upper_and_work(at) + extra
        subprocess.run(["mount", "-t", "overlay", "-o", options + ",nosuid", "overlay", str(at.mountpoint)], check=True)

    return start


def _fuse_overlayfs(at: Layers) -> "subprocess.Popen[bytes]":
    options = _upper_and_work(at) + ",allow_other,nosuid"
    return subprocess.Popen(["fuse-overlayfs", "-f", "-o", options, str(at.mountpoint)])


CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate("direct", _cowfs("direct")),
        Candidate("pyfuse3", _cowfs("pyfuse3")),
        Candidate("overlayfs", _overlayfs()),
        Candidate("overlayfs-volatile", _overlayfs(",volatile")),
        Candidate("fuse-overlayfs", _fuse_overlayfs),
    )
}


class Mounted(NamedTuple):
    mountpoint: Path
    layer: Path
    seconds_to_mount: float
    daemon: int | None
    """Its process number, to read its memory; None for what the kernel does alone."""


@contextmanager
def mounted(candidate: Candidate, base: Path, scratch: Path) -> Iterator[Mounted]:
    """The candidate, mounted with a fresh layer in `scratch`; unmounted and discarded at the end."""
    at = Layers(base, scratch / "layer", scratch / "mountpoint")
    at.mountpoint.mkdir(parents=True)
    started = time.perf_counter()
    daemon = candidate.start(at)
    try:
        _wait_until_mounted(at.mountpoint, daemon)
        seconds = time.perf_counter() - started
        yield Mounted(at.mountpoint, at.layer, seconds, daemon.pid if daemon else None)
    finally:
        subprocess.run(["umount", str(at.mountpoint)], check=True)
        if daemon is not None:
            daemon.wait(MOUNT_SECONDS)
        shutil.rmtree(scratch)


def _wait_until_mounted(mountpoint: Path, daemon: "subprocess.Popen[bytes] | None") -> None:
    parent_device = mountpoint.parent.stat().st_dev
    give_up = time.monotonic() + MOUNT_SECONDS
    while os.stat(mountpoint).st_dev == parent_device:
        if daemon is not None and daemon.poll() is not None:
            raise RuntimeError(f"{daemon.args!r} ended with code {daemon.returncode} instead of mounting")
        if time.monotonic() > give_up:
            raise RuntimeError(f"{mountpoint} was not mounted within {MOUNT_SECONDS} s")
        time.sleep(0.002)


@contextmanager
def scratch_tmpfs(path: Path, size: str) -> Iterator[Path]:
    """A tmpfs of its own: no old file system's history slows what is measured."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "bench", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)
        path.rmdir()
