"""FUSE over io_uring (Linux 6.14): requests come to the processor on which their caller runs, and are answered there.

The kernel has a queue for each processor, and here a thread, bound to it, serves each. So no request wakes another,
halted processor, which takes longer than most answers: a stat takes 30 us instead of 100. The threads take turns in
the dispatcher; they are many in order to be where the caller is, not to work at once.

/dev/fuse stays: INIT came from there, and FORGET and INTERRUPT still do.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import struct
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import cast

from cowfs import linux
from cowfs.fuse.direct.arguments import Message
from cowfs.fuse.direct.dispatch import Dispatcher, GiveReply
from cowfs.fuse.direct.uring import COMMAND_DATA_AT, IORING_OP_READ, IORING_OP_URING_CMD, Ring, entry
from cowfs.fuse.protocol import abi
from cowfs.fuse.protocol.messages import HEADER_SIZE, OUT_HEADER_SIZE
from cowfs.fuse.protocol.negotiation import MAX_WRITE
from cowfs.fuse.protocol.opcodes import Opcode
from cowfs.union.tree import Tree

PLACES = 16
"""Requests that a queue can have under way, a slow one too; further ones wait in the kernel. Memory is taken only
for as many as there really are, since the kernel takes the one first that came back last."""

FOREIGN_PLACES = 2
"""As PLACES, for a processor on which this process may not run: there may be hundreds that a machine could have."""

READ_AHEAD = 128 * 1024
"""A read of so many bytes is one that nobody waits for yet: while such come, the thread may go to another processor,
and the caller takes what was read before while the next is read."""

_POSSIBLE_PROCESSORS = "/sys/devices/system/cpu/possible"
_START_SECONDS = 10

_WAKE = 1 << 63
"""The tag of the completion that says: somebody else than the kernel wants something."""

_OPERATION_AT = abi.URING_HEADER.offset("op_in")
_COMMIT_AT = abi.URING_HEADER.offset("ring_ent_in_out.commit_id")
_SIZE_AT = abi.URING_HEADER.offset("ring_ent_in_out.payload_sz")
_SIZE = struct.Struct("=I")
_READ_SIZE_AT = _OPERATION_AT + abi.READ_IN.offset("size")
_ADDRESSES = struct.Struct("=4Q")
"""Two struct iovec: header and payload."""
_ADDRESSES_AT = 1024
_HEADER_ROOM = mmap.PAGESIZE
"""Before the payload: the header, the two iovec, and at the end, where a message can be made whole in place."""
_PLACE_SIZE = _HEADER_ROOM + MAX_WRITE

_WRITE = int(Opcode.WRITE)

_log = logging.getLogger("cowfs")


class Queues:
    """All the queues of one mount. `open`, then INIT is answered, then `register`."""

    def __init__(self, fd: int, tree: Tree, dispatcher: Dispatcher) -> None:
        """OSError where /sys is not there to tell of the processors."""
        allowed = sorted(os.sched_getaffinity(0))
        queues: dict[int, list[int]] = {processor: [] for processor in allowed}
        for number in range(_possible_processors()):
            queues[number if number in queues else allowed[number % len(allowed)]].append(number)
        self._workers = [_Worker(fd, tree, dispatcher, processor, served) for processor, served in queues.items()]

    def open(self) -> None:
        """Starts the threads, with a ring and memory for each. OSError, and all is as it was."""
        for worker in self._workers:
            worker.start()
        self._all_reach_the_next_step()

    def register(self) -> None:
        """Requests come from now on. OSError: then no request is answered any more."""
        for worker in self._workers:
            worker.registering.set()
        self._all_reach_the_next_step()

    def _all_reach_the_next_step(self) -> None:
        for worker in self._workers:
            worker.reached.wait(_START_SECONDS)
            worker.reached.clear()
        for worker in self._workers:
            if worker.problem is not None:
                self.close()
                raise worker.problem

    def close(self) -> None:
        """Ends the threads, between two requests. The caller must not hold the dispatcher's lock."""
        for worker in self._workers:
            worker.end()
        for worker in self._workers:
            worker.close()


class _Worker(threading.Thread):
    """Serves the queues of one processor, and those of processors on which this process may not run."""

    def __init__(self, fd: int, tree: Tree, dispatcher: Dispatcher, processor: int, queues: list[int]) -> None:
        super().__init__(name=f"fuse-{processor}", daemon=True)
        self._fd = fd
        self._tree = tree
        self._dispatcher = dispatcher
        self._processor = processor
        self._allowed = os.sched_getaffinity(0)
        self._bound = False
        self._queues = queues
        self.reached = threading.Event()
        """Set when the thread has done what it was last told to."""
        self.registering = threading.Event()
        self.problem: OSError | None = None
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._wake_address = 0
        self._ending = False
        self._late: deque[tuple[_Place, int, bytes | memoryview, int]] = deque()
        """Replies that tasks give, as `reply` takes them."""

    def end(self) -> None:
        self._ending = True
        self.registering.set()
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Waits for the end."""
        self.join()
        os.close(self._wake)

    def reply_later(self, place: _Place, unique: int, body: bytes | memoryview, number: int = 0) -> None:
        """From another thread."""
        self._late.append((place, unique, body, number))
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        try:
            self._bind(True)
            queues = [
                queue for queue in self._queues for _ in range(PLACES if queue == self._processor else FOREIGN_PLACES)
            ]
            ring = Ring(len(queues) + 1)
            try:
                memory = mmap.mmap(-1, len(queues) * _PLACE_SIZE + mmap.PAGESIZE, mmap.MAP_PRIVATE)
                places = [_Place(self, ring, memory, number, queue, self._fd) for number, queue in enumerate(queues)]
                self.reached.set()
                self.registering.wait()
                if self._ending:
                    return
                self._register(ring, places, memory)
                self.reached.set()
                self._serve(ring, places)
            finally:
                ring.close()
        except Exception as error:
            self.problem = error if isinstance(error, OSError) else OSError(errno.EIO, repr(error))
        finally:
            self.reached.set()

    def _register(self, ring: Ring, places: list[_Place], memory: mmap.mmap) -> None:
        self._wake_address = linux.address_of(memory) + len(memory) - mmap.PAGESIZE
        self._await_wake(ring)
        for place in places:
            ring.queue(place.registration)
        for _, result in ring.enter(0):
            if result < 0:
                raise OSError(-result, os.strerror(-result))

    def _await_wake(self, ring: Ring) -> None:
        ring.queue(entry(IORING_OP_READ, self._wake, _WAKE, address=self._wake_address, length=8))

    def _serve(self, ring: Ring, places: list[_Place]) -> None:
        enter, lock, answer = ring.enter, self._dispatcher.lock, self._dispatcher.answer
        unpack_header, read = abi.IN_HEADER.unpack_from, int(Opcode.READ)
        while not self._ending:
            for tag, result in enter(1):
                if result < 0:
                    if result != -errno.ENOTCONN:  # unmounted
                        _log.error("a queue of /dev/fuse failed: %s", os.strerror(-result))
                    return
                if tag == _WAKE:
                    while self._late:
                        place, unique, body, number = self._late.popleft()
                        place.reply(unique, body, number)
                    self._await_wake(ring)
                else:
                    place = places[tag]
                    length, opcode, unique, node, _, _, _, _, _ = unpack_header(place.header)
                    try:
                        message = place.message(opcode, length)
                        with lock:
                            if opcode == read or not self._bound:
                                self._prepare(place, opcode)
                            answer(place, opcode, unique, node, message, length)
                    except Exception as error:  # must not end the thread, for which other callers would wait
                        _log.error("a request failed unexpectedly: %s: %s", type(error).__name__, error)
                        place.reply(unique, b"", errno.EIO)

    def _prepare(self, place: _Place, opcode: int) -> None:
        """Content is read to where the reply goes; and the thread is bound, or not."""
        near = True
        if opcode == Opcode.READ:
            self._dispatcher.handlers.read_buffer = place.payload
            near = _SIZE.unpack_from(place.header, _READ_SIZE_AT)[0] < READ_AHEAD
        if near != self._bound:
            self._bind(near)

    def _bind(self, bound: bool) -> None:
        """To its processor, or to none."""
        self._bound = bound
        with suppress(OSError):  # best effort
            os.sched_setaffinity(0, {self._processor} if bound else self._allowed)


class _Place:
    """Where the kernel puts a request and gets the reply: the structure fuse_uring_req_header, and the payload."""

    def __init__(self, worker: _Worker, ring: Ring, memory: mmap.mmap, number: int, queue: int, fd: int) -> None:
        start = number * _PLACE_SIZE
        view = memoryview(memory)
        self._worker = worker
        self._queue = ring.queue
        self._memory = view[start : start + _PLACE_SIZE]
        self.header = self._memory[: abi.URING_HEADER.size]
        self.payload = self._memory[_HEADER_ROOM:]
        address = linux.address_of(memory) + start
        iovecs = (address, abi.URING_HEADER.size, address + _HEADER_ROOM, MAX_WRITE)
        _ADDRESSES.pack_into(self._memory, _ADDRESSES_AT, *iovecs)
        data = abi.URING_COMMAND.pack(0, 0, queue, b"")
        self.registration = entry(
            IORING_OP_URING_CMD,
            fd,
            number,
            command=abi.URING_REGISTER,
            address=address + _ADDRESSES_AT,
            length=len(iovecs) // 2,
            data=data,
        )
        commit = entry(IORING_OP_URING_CMD, fd, number, command=abi.URING_COMMIT_AND_FETCH, data=data)
        own = COMMAND_DATA_AT + abi.URING_COMMAND.offset("commit_id")
        self._commit = (commit[:own], self.header[_COMMIT_AT : _COMMIT_AT + 8], commit[own + 8 :])
        """The submission that gives the reply: in the middle the number that the kernel gave the request."""
        self._whole_header = self.header[:HEADER_SIZE]

    def message(self, opcode: int, length: int) -> Message:
        """The request as it would have come from /dev/fuse."""
        (size,) = _SIZE.unpack_from(self.header, _SIZE_AT)
        end = _OPERATION_AT + length - HEADER_SIZE - size
        operation = self.header[_OPERATION_AT:end]
        if opcode != _WRITE:
            return b"".join((self._whole_header, operation, self.payload[:size]))
        # What is written is not copied, the little before it is put before it.
        start = _HEADER_ROOM - HEADER_SIZE - len(operation)
        self._memory[start : start + HEADER_SIZE] = self._whole_header
        self._memory[start + HEADER_SIZE : _HEADER_ROOM] = operation
        return cast(bytes, self._memory[start : start + length])  # no name is looked for in it

    def reply(self, unique: int, body: bytes | memoryview, number: int = 0) -> None:
        """Gives the place back as well, for the next request. Only the worker may."""
        size = len(body)
        if size and not (isinstance(body, memoryview) and body.obj is self.payload.obj):
            self.payload[:size] = body
        abi.OUT_HEADER.pack_into(self.header, 0, OUT_HEADER_SIZE + size, -number, unique)
        _SIZE.pack_into(self.header, _SIZE_AT, size)
        self._queue(b"".join(self._commit))

    @property
    def late(self) -> GiveReply:
        return partial(self._worker.reply_later, self)


def _possible_processors() -> int:
    """How many the kernel has queues for, those too that are not there now."""
    with open(_POSSIBLE_PROCESSORS, encoding="ascii") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ranges)
