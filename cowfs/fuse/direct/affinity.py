"""Moves the engine to the processor on which its caller runs.

Waking a process on another, idle processor takes some 20 us, twice for each request, and on the same processor
next to nothing: 57 us or 14 us for a stat (docs/requests.md). The scheduler leaves engine and caller where
they once happened to be. So after a while of requests from one and the same thread the engine goes there, and
is free again at once. With many callers nothing is done: they keep the processors busy and awake.
"""

from __future__ import annotations

import os

from cowfs import linux

STREAK = 64
"""Requests in a row from one thread before its processor is looked up, which takes some 20 us."""

_PROCESSOR_FIELD = 36
"""Of /proc/PID/stat, counted from the state, which follows the name, proc(5)."""


class Affinity:
    """Knows which processors the engine may use."""

    def __init__(self) -> None:
        self._allowed = os.sched_getaffinity(0)

    def move_to(self, thread: int) -> None:
        """Go where this thread last ran; do nothing when that is not known or not allowed."""
        if len(self._allowed) < 2:
            return
        processor = _processor_of(thread)
        if processor in self._allowed and processor != linux.current_processor():
            try:
                os.sched_setaffinity(0, {processor})
                os.sched_setaffinity(0, self._allowed)
            except OSError:
                self._allowed = set()


def _processor_of(thread: int) -> int:
    """The processor on which a thread last ran; -1 if it is gone."""
    try:
        fd = os.open(f"/proc/{thread}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        return int(os.read(fd, 1024).rpartition(b")")[2].split()[_PROCESSOR_FIELD])
    except (OSError, IndexError):
        return -1
    finally:
        os.close(fd)
