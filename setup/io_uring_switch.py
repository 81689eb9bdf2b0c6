"""FUSE over io_uring: off in every kernel until an administrator switches it on; measured, and tested, with it on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

SWITCH = Path("/sys/module/fuse/parameters/enable_uring")


def offered() -> bool:
    """Whether a file system that is mounted now could use it."""
    return SWITCH.exists() and SWITCH.read_text().strip() == "Y"


def switched_on() -> AbstractContextManager[None]:
    return set_to(on=True)


@contextmanager
def set_to(*, on: bool) -> Iterator[None]:
    """While the block runs, where the kernel has it at all (Linux 6.14), for root."""
    before = SWITCH.read_text() if os.access(SWITCH, os.W_OK) else None
    if before is not None:
        SWITCH.write_text("Y" if on else "N")
    try:
        yield
    finally:
        if before is not None:
            SWITCH.write_text(before)
