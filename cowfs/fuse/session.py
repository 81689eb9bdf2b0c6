"""The direct engine: reads requests from the device, answers each at once, sends the slow ones to threads.

Everything happens in one thread. A request that can be answered now is answered between two reads of the
device, with no task switch; the others become trio tasks. Between two requests the engine waits in two ways:
first a short while in poll(2), which wakes up far quicker than an event loop, then in trio.
"""

import contextlib
import errno
import logging
import os
import select
import threading
import time
import traceback
from functools import partial

import trio

from cowfs.fuse import abi, messages
from cowfs.fuse.abi import Opcode
from cowfs.fuse.device import Device
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.handlers import ROOT_NAME, Handlers, Message, Reply, TakesLongError, Work
from cowfs.fuse.messages import HEADER_SIZE
from cowfs.fuse.negotiation import BUFFER_SIZE
from cowfs.fuse.neighbour import STREAK, Neighbour
from cowfs.fuse.slow import SlowWork
from cowfs.union.copyup import CopyUpNeeded
from cowfs.union.nodes import Node
from cowfs.union.tree import Tree

LINGER_MS = 10
"""How long the engine waits in poll(2) for the next request before it goes back to trio, whose wait costs some
10 us more. It sleeps meanwhile. Signals and timers of trio wait as long at most."""

BURST_NS = 20_000_000
"""After so long without a pause trio gets its turn, for cancellation and finished threads."""

JOIN_LIMIT = 4096
"""Replies up to this size are joined to their header and written with one write; longer ones are not copied."""

_log = logging.getLogger("cowfs")


class Session:
    def __init__(self, device: Device, tree: Tree, settings: EngineSettings) -> None:
        self._device = device
        self._fd = device.fd
        self._debug = settings.debug
        self._counters = settings.counters
        tree.on_stale = self._forget_attributes
        self._slow = SlowWork(tree)
        self._handlers = Handlers(tree, settings, self._slow)
        self._table = self._handlers.table
        self._table[Opcode.INTERRUPT] = self._interrupt
        self._slow_requests: dict[int, trio.CancelScope] = {}
        """Requests that are being worked on in tasks, by their unique number."""
        self._early_requests: list[tuple[int, Work]] = []
        """Those that came before there could be tasks."""
        self._buffer = bytearray(BUFFER_SIZE)
        self._nursery: trio.Nursery | None = None
        self._ended = False
        self._neighbour = Neighbour()
        self._last_thread = 0
        self._streak = 0
        """How many requests in a row came from that thread."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        self._poll = poll.poll

    def settle(self) -> None:
        """Serves the mounting itself, where the device was mounted in stages. Raises MountError.

        The kernel makes the inode of a FUSE root before INIT has told it of POSIX_ACL, and then never keeps that
        inode's ACL: each walk of a path by an ordinary user would ask for it, nine of ten requests of a build. Any
        other inode's ACL is kept, so the union's root is shown as a child of the FUSE root, and that child is bound
        to the mount point. A user who had to ask fusermount3 to mount may not bind, and keeps the FUSE root.
        """
        if self._device.stage is None:
            return
        problems: list[OSError] = []

        def settle() -> None:
            try:
                self._device.settle(ROOT_NAME)
            except OSError as error:
                problems.append(error)

        lookup, self._table[Opcode.LOOKUP] = self._table[Opcode.LOOKUP], self._handlers.lookup_root
        thread = threading.Thread(target=settle, daemon=True)
        thread.start()
        while thread.is_alive() and not self._ended:
            self._serve_burst()
        self._table[Opcode.LOOKUP] = lookup
        if problems:
            raise problems[0]

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Answers requests until the file system is unmounted, or the surrounding cancel scope is cancelled."""
        async with trio.open_nursery() as self._nursery:
            for early in self._early_requests:
                self._start(*early)
            while not self._ended:
                await trio.lowlevel.wait_readable(self._fd)
                self._serve_burst()
            self._nursery.cancel_scope.cancel()

    def _serve_burst(self) -> None:
        """Answers requests until none has come for a while, or the mount is gone."""
        fd, buffer, buffers, readv = self._fd, self._buffer, [self._buffer], os.readv
        clock, unpack_header = time.perf_counter_ns, abi.IN_HEADER.unpack_from
        requests, nanoseconds = self._counters.requests, self._counters.nanoseconds
        answer, has_request = self._answer, self._has_request
        deadline = clock() + BURST_NS
        last_thread, streak = self._last_thread, self._streak
        while has_request():
            try:
                length = readv(fd, buffers)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                    continue  # ENOENT: the caller was killed before its request was read
                self._ended = True
                if error.errno != errno.ENODEV:
                    _log.error("reading %s failed: %s", "/dev/fuse", error.strerror)
                return
            if length < HEADER_SIZE:
                self._ended = True  # no device ends so, but a socket in a test
                return
            started = clock()
            _, opcode, unique, node, _, _, thread, _, _ = unpack_header(buffer)
            if opcode >= abi.OPCODE_LIMIT:
                opcode = 0  # no such opcode: answered and counted as unknown
            answer(opcode, unique, node, length)
            ended = clock()
            requests[opcode] += 1
            nanoseconds[opcode] += ended - started
            if thread == last_thread:
                streak += 1
                if streak == STREAK:
                    streak = 0
                    self._neighbour.move_to(thread)
            elif thread:
                last_thread, streak = thread, 0
            if ended > deadline:
                break
        self._last_thread, self._streak = last_thread, streak

    def _has_request(self) -> bool:
        """Waits for a request, as long as that is cheaper than leaving the wait to trio."""
        if self._slow_requests:
            return bool(self._poll(0))  # their threads report through trio
        return bool(self._poll(LINGER_MS))

    def _answer(self, opcode: int, unique: int, node: int, length: int) -> None:
        message = self._buffer
        if self._debug is not None:
            self._debug(self._handlers.describe(memoryview(message)[:length]))
        try:
            body = self._table[opcode](node, message)
        except TakesLongError as slow:
            self._start(unique, slow.work)
        except (CopyUpNeeded, OSError) as problem:
            if isinstance(problem, OSError) and not self._slow.may_only_look_full(problem):
                self._refuse(unique, problem.errno or errno.EIO)
                return
            again = partial(self._table[opcode], node, bytes(memoryview(message)[:length]))
            self._start(unique, partial(self._slow.finish, again, problem))
        except Exception as error:  # whatever a handler does wrong must not end the mount
            self._failed(unique, opcode, error)
        else:
            if body is not None:
                self._reply(unique, body)

    def _reply(self, unique: int, body: bytes | memoryview) -> None:
        size = len(body)
        header = messages.reply_header(unique, size)
        if self._debug is not None:
            self._debug(messages.describe_reply(unique, 0, size))
        try:
            if size <= JOIN_LIMIT:
                os.write(self._fd, header + body)
            else:
                os.writev(self._fd, (header, body))
        except OSError as error:
            self._undelivered(unique, error)

    def _refuse(self, unique: int, number: int) -> None:
        if self._debug is not None:
            self._debug(messages.describe_reply(unique, number, 0))
        try:
            os.write(self._fd, messages.error_reply(unique, number))
        except OSError as error:
            self._undelivered(unique, error)

    def _undelivered(self, unique: int, error: OSError) -> None:
        """ENOENT: the request was interrupted and nobody waits for it. ENODEV: the next read will say so too."""
        if error.errno not in (errno.ENOENT, errno.ENODEV):
            _log.error("the kernel refused the reply to request %d: %s", unique, error.strerror)

    def _failed(self, unique: int, opcode: int, error: Exception) -> None:
        """A defect in cowfs: the caller gets EIO, the log one line, and --debug the traceback."""
        _log.error("%s failed unexpectedly: %s: %s", messages.opcode_name(opcode), type(error).__name__, error)
        if self._debug is not None:
            self._debug("".join(traceback.format_exception(error)))
        self._refuse(unique, errno.EIO)

    def _forget_attributes(self, node: Node) -> None:
        """Tells the kernel of a change that the reply to come does not tell of.

        Before the reply, never after it: the caller holds the inode as long as it waits, so that the kernel need not
        wait for the end of an eviction, which may need an answer from here.
        """
        with contextlib.suppress(OSError):  # ENOENT: the kernel has forgotten the node
            os.write(self._fd, messages.notify_stale_attributes(node.number))

    # Requests that take long

    def _start(self, unique: int, work: Work) -> None:
        if self._nursery is None:  # the mount can be used a moment before it is settled
            self._early_requests.append((unique, work))
            return
        self._counters.slow += 1
        scope = self._slow_requests[unique] = trio.CancelScope()
        self._nursery.start_soon(self._finish, unique, scope, work)

    async def _finish(self, unique: int, scope: trio.CancelScope, work: Work) -> None:
        body: Reply = None
        try:
            with scope:
                body = await work()
        except OSError as error:
            self._refuse(unique, error.errno or errno.EIO)
        except Exception as error:
            self._failed(unique, 0, error)
        else:
            if scope.cancelled_caught:
                self._refuse(unique, errno.EINTR)
            elif body is not None:
                self._reply(unique, body)
        finally:
            del self._slow_requests[unique]

    def _interrupt(self, _: int, message: Message) -> None:
        """The caller got a signal. What was answered at once is past that; what takes long is given up."""
        scope = self._slow_requests.get(abi.INTERRUPT_IN.unpack_from(message, HEADER_SIZE)[0])
        if scope is not None:
            scope.cancel()
