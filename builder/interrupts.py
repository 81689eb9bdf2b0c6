"""When a signal ends the work: at once, or after the few steps that would leave a process or a descriptor behind.

Python raises from a signal's handler between any two steps: between a fork and the line that notes the child, or
between open(2) and the line that will close the descriptor.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from builder.problems import Interrupted


class _State:
    held_off = 0
    """How many `uninterrupted` the main thread is in."""
    waiting: int | None = None
    """The number of a signal that came meanwhile."""


def interrupt(number: int) -> None:
    """From a signal's handler: raise Interrupted, now or when the steps that may not be cut short are done."""
    if _State.held_off:
        _State.waiting = number
    else:
        raise Interrupted(number)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """What is in here, which must be short, is not cut short by a signal; Interrupted comes at its end."""
    # Python runs handlers in the main thread, so nothing is cut short in others.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.held_off += 1
    try:
        yield
    finally:
        _State.held_off -= 1
        if not _State.held_off and _State.waiting is not None:
            number, _State.waiting = _State.waiting, None
            raise Interrupted(number)
