"""FUSE over io_uring: off in every kernel until an administrator switches it on; measured, and tested, with it on."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SWITCH = Path("/sys/module/fuse/parameters/enable_uring")

# Waits for the end of its input, which is that of the block, or of its process, however it was killed. Who is the last
# to hold the lock switches it off.
SWITCH_OFF = """
trap '' INT TERM HUP QUIT
read -r _
! flock --nonblock --exclusive "$2" || echo N > "$1"
"""


def offered() -> bool:
    """Whether a file system that is mounted now could use it."""
    return SWITCH.exists() and SWITCH.read_text().strip() == "Y"


@contextmanager
def switched_on() -> Iterator[None]:
    """While the block runs, where the kernel has it (Linux 6.14), for root. Others may want the same meanwhile."""
    if not os.access(SWITCH, os.W_OK):
        yield
        return
    with SWITCH.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            on_for_good = offered()
        except BlockingIOError:
            on_for_good = False
        if on_for_good:
            fcntl.flock(lock, fcntl.LOCK_UN)
            yield
            return
        fcntl.flock(lock, fcntl.LOCK_SH)
        command: list[str | Path] = ["sh", "-c", SWITCH_OFF, "switch-off", SWITCH, str(lock.fileno())]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[lock.fileno()], start_new_session=True
        ) as watcher:
            SWITCH.write_text("Y")
            try:
                yield
            finally:
                watcher.communicate()


@contextmanager
def set_to(*, on: bool) -> Iterator[None]:
    """While the block runs, within `switched_on`."""
    before = SWITCH.read_text() if os.access(SWITCH, os.W_OK) else None
    if before is not None:
        SWITCH.write_text("Y" if on else "N")
    try:
        yield
    finally:
        if before is not None:
            SWITCH.write_text(before)
