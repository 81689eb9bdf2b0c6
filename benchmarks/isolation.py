"""Namespaces that take everything with them: mounts, daemons and loop devices of a benchmark end when it does."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAMESPACE_MADE = "COWFS_BENCH_NAMESPACE"


def in_a_namespace(module: str) -> None:
    """Starts the module again in mount and process namespaces of its own, unless that was done.

    The first process of a process namespace takes all others along, however it ends: no daemon outlives it. And
    somebody who makes a mount namespace meanwhile would else keep a copy of each mount, and its daemon would not end.
    """
    if os.environ.get(_NAMESPACE_MADE):
        # The kernel gives the first process no signal that it has no handler for.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: sys.exit(128 + number))
        return
    if os.geteuid() != 0:
        sys.exit("The benchmarks mount file systems: run them as root.")
    command = [
        "unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc",
        sys.executable, "-m", module, *sys.argv[1:],
    ]  # fmt: skip
    os.execvpe(command[0], command, {**os.environ, _NAMESPACE_MADE: "yes"})


@contextmanager
def alone(scratch: Path) -> Iterator[None]:
    """Nobody else measures on this machine at the same time; exits with a message where somebody does."""
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"Another benchmark runs with {scratch}: both would measure each other. Wait for its end.")
        yield
