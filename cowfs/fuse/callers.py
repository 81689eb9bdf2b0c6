"""What becomes of a caller while its request takes long.

A signal interrupts the wait for a FUSE reply, whatever signal it is. But reading, writing or syncing a file of an
ordinary disk is never interrupted, and programs do not expect EINTR there: PostgreSQL panics when fsync(2) fails. So
only a caller that will not see the reply is let go.
"""

from __future__ import annotations

import signal

_PENDING = (b"SigPnd", b"ShdPnd")
_KILL = 1 << signal.SIGKILL - 1


def is_being_killed(thread: int) -> bool:
    """Whether this thread ends as soon as its system call does; false where that is not known, as of thread 0.

    Any signal that ends the process, and exit(2) or execve(2) of another thread, becomes a pending SIGKILL in each
    thread; one that dumps core does not, and then the caller waits, as it would for a disk.
    """
    try:
        with open(f"/proc/{thread}/status", "rb") as status:
            fields = dict(line.split(b":", 1) for line in status)
        return any(int(fields[name], 16) & _KILL for name in _PENDING)
    except (OSError, KeyError, ValueError):  # another namespace's thread, no /proc, or a hidden one
        return False
