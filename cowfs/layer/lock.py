"""Locks on a layer's upper directory: exclusive to write, shared to read, gone with the process."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from cowfs.layer.metadata import LayerError

_LOCKED_WITHIN = 1.0


class LayerInUseError(LayerError):
    """Somebody else holds the lock of this upper directory."""

    def __init__(self, text: str, upper: Path) -> None:
        super().__init__(text)
        self.upper = upper


def lock_layer(upper: Path, *, exclusive: bool, patience: float = _LOCKED_WITHIN) -> int:
    """Lock a layer for the life of the returned descriptor, flock(2). LayerInUseError if somebody else has it.

    `patience`: how many seconds to wait for it.
    """
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    give_up = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            # umount(8) returns before the daemon has put the layer away: that is worth a moment.
            if time.monotonic() < give_up:
                time.sleep(0.01)
                continue
        os.close(fd)
        use = "mounted already, or in use as a base" if exclusive else "mounted for writing"
        raise LayerInUseError(f"The layer {upper} is {use}. Unmount it first.", upper)


def hold_base(root_fd: int) -> int | None:
    """Tell whoever would replace or remove a base that it is in use, for the life of the returned descriptor.

    None where the base's mode lets its owner not read it. Nothing is told where flock(2) does not work.
    """
    fd = None
    with suppress(OSError):
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root_fd)
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return fd


def share_lock(fd: int) -> None:
    """Turn an exclusive lock into that of a layer which is only read."""
    fcntl.flock(fd, fcntl.LOCK_SH)
