"""io_uring(7) for one thread: requests and completions in memory that the kernel shares, one system call for both.

The ring belongs to the thread that makes it. With IORING_SETUP_DEFER_TASKRUN the kernel touches the shared memory
only while that thread is inside io_uring_enter(2), so that reading and writing it needs no memory barriers.
"""

from __future__ import annotations

import mmap
import os
import struct

from cowfs import linux

IORING_OP_READ = 22
IORING_OP_URING_CMD = 46

_SETUP_SUBMIT_ALL = 1 << 7
_SETUP_SQE128 = 1 << 10
_SETUP_SINGLE_ISSUER = 1 << 12
_SETUP_DEFER_TASKRUN = 1 << 13
_SETUP_NO_SQARRAY = 1 << 16
_FLAGS = _SETUP_SUBMIT_ALL | _SETUP_SQE128 | _SETUP_SINGLE_ISSUER | _SETUP_DEFER_TASKRUN | _SETUP_NO_SQARRAY
_ENTER_GETEVENTS = 1 << 0

_OFF_RINGS = 0
_OFF_SQES = 0x10000000

_PARAMETERS = struct.Struct("=10I 8I Q 8I Q")
"""struct io_uring_params: its own ten fields, then io_sqring_offsets and io_cqring_offsets."""
_FLAGS_FIELD = 2
_SQ_HEAD, _CQ_HEAD = 10, 19
"""Where the offsets of the two rings begin: head, tail, ring_mask, ring_entries, ..."""
_CQES = _CQ_HEAD + 5

_SQE_SIZE = 128
_CQE_SIZE = 16
_SQE = struct.Struct("=BBHi QQ II Q 8x")
"""struct io_uring_sqe: opcode, flags, ioprio, fd, off, addr, len, cmd_flags, user_data. 80 bytes follow."""


def entry(
    opcode: int, fd: int, tag: int, *, command: int = 0, address: int = 0, length: int = 0, data: bytes = b""
) -> bytes:
    """A submission, whole: what stays in its place from the one before would have a meaning.

    `data` goes with IORING_OP_URING_CMD and begins at COMMAND_DATA_AT. `tag` comes back with the completion.
    """
    return (_SQE.pack(opcode, 0, 0, fd, command, address, length, 0, tag) + data).ljust(_SQE_SIZE, b"\0")


COMMAND_DATA_AT = _SQE.size


class Ring:
    """A ring for up to `entries` requests at once. To be made, used and closed by one thread. OSError."""

    def __init__(self, entries: int) -> None:
        fields = [0] * 28
        fields[_FLAGS_FIELD] = _FLAGS
        parameters = bytearray(_PARAMETERS.pack(*fields))
        self._fd = linux.io_uring_setup(entries, parameters)
        try:
            values = _PARAMETERS.unpack(parameters)
            slots, completions = values[0], values[1]
            size = values[_CQES] + completions * _CQE_SIZE
            size += -size % mmap.PAGESIZE
            self._memory = mmap.mmap(self._fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=_OFF_RINGS)
            self._entries = mmap.mmap(
                self._fd, slots * _SQE_SIZE, mmap.MAP_SHARED | mmap.MAP_POPULATE, offset=_OFF_SQES
            )
        except OSError:
            os.close(self._fd)
            raise
        view = memoryview(self._memory)
        self._words, self._results, self._tags = view.cast("I"), view.cast("i"), view.cast("Q")
        self._submitted_at = values[_SQ_HEAD + 1] // 4
        self._taken_at = values[_CQ_HEAD] // 4
        self._completed_at = values[_CQ_HEAD + 1] // 4
        self._completions_at = values[_CQES]
        self._submission_mask = slots - 1
        self._completion_mask = completions - 1
        self._submitted = 0
        self._queued = 0
        self._taken = 0

    def queue(self, submission: bytes) -> None:
        """To be handed over with the next `enter`."""
        start = (self._submitted & self._submission_mask) * _SQE_SIZE
        self._entries[start : start + _SQE_SIZE] = submission
        self._submitted = self._words[self._submitted_at] = self._submitted + 1 & 0xFFFFFFFF
        self._queued += 1

    def enter(self, awaited: int) -> list[tuple[int, int]]:
        """Hands over what was queued and waits until as many requests are complete, or a signal comes.

        (tag, result) of all that are; a negative result is an errno.
        """
        queued, self._queued = self._queued, 0
        linux.io_uring_enter(self._fd, queued, awaited, _ENTER_GETEVENTS)
        completed = self._words[self._completed_at]
        found: list[tuple[int, int]] = []
        while self._taken != completed:
            start = self._completions_at + (self._taken & self._completion_mask) * _CQE_SIZE
            found.append((self._tags[start // 8], self._results[start // 4 + 2]))
            self._taken = self._taken + 1 & 0xFFFFFFFF
        self._words[self._taken_at] = completed
        return found

    def close(self) -> None:
        """Gives up what is under way."""
        os.close(self._fd)
