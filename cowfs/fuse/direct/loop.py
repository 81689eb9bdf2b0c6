"""The direct engine: reads requests from the device, answers each at once, sends the slow ones to threads.

A request that can be answered now is answered between two reads of the device, with no task switch; the others
become trio tasks. Between two requests the engine waits in two ways: first a short while in poll(2), which wakes up
far quicker than an event loop, then in trio (tasks.py). All that is in one thread, until the kernel offers FUSE over
io_uring: then threads of uring_queues.py answer, and what is left to this one are tasks, FORGET and INTERRUPT.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from cowfs.fuse.device import Device, MountError
from cowfs.fuse.direct.affinity import STREAK, Affinity
from cowfs.fuse.direct.dispatch import Dispatcher, GiveReply
from cowfs.fuse.direct.handlers import ROOT_NAME
from cowfs.fuse.direct.uring_queues import Queues
from cowfs.fuse.engine import FAILURES_IN_VAIN, RETRY_SECONDS, EngineSettings
from cowfs.fuse.protocol import abi, messages
from cowfs.fuse.protocol.abi import InitFlag
from cowfs.fuse.protocol.messages import HEADER_SIZE
from cowfs.fuse.protocol.negotiation import BUFFER_SIZE
from cowfs.fuse.protocol.opcodes import Opcode
from cowfs.union.nodes import Node
from cowfs.union.tree import Tree

LINGER_MS = 10
"""How long the engine waits in poll(2) for the next request before it goes back to trio, whose wait costs some
10 us more. It sleeps meanwhile. Signals and timers of trio wait as long at most."""

BURST_NS = 20_000_000
"""After so long without a pause trio gets its turn, for cancellation and finished threads."""

SWITCH_SECONDS = 0.0002
"""How long a thread that loads modules may go on while a request waits; Python's own 0.005 would be felt."""

JOIN_LIMIT = 4096
"""Replies up to this size are joined to their header and written with one write; longer ones are not copied."""

_log = logging.getLogger("cowfs")


class DirectEngine:
    def __init__(self, device: Device, tree: Tree, settings: EngineSettings) -> None:
        self._device = device
        self.fd = device.fd
        self.tree = tree
        self._settings = settings
        tree.on_stale = self._forget_attributes
        self.dispatcher = Dispatcher(tree, settings)
        self._handlers = self.dispatcher.handlers
        self._handlers.before_init = self._open_queues
        self._replies = _DeviceReplies(device.fd)
        self._queues: Queues | None = None
        self._buffer = bytearray(BUFFER_SIZE)
        self.ended = False
        """Unmounted, or given up; then there are no more requests."""
        self._problem = ""
        """Why it ended, if not as it should."""
        self._in_vain = 0
        """How often reading has failed since the last request."""
        self._affinity = Affinity()
        self._last_thread = 0
        self._streak = 0
        """How many requests in a row came from that thread."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        self._poll = poll.poll

    def _open_queues(self, offered: messages.InitRequest) -> InitFlag:
        """Queues are agreed on only when they are there: the kernel then waits for them, whatever becomes of them."""
        if self._settings.io_uring and offered.flags & InitFlag.OVER_IO_URING:
            try:
                queues = Queues(self.fd, self.tree, self.dispatcher)
                queues.open()
            except OSError as error:
                _log.info("the kernel offers FUSE over io_uring, which cannot be used: %s", error)
            else:
                self._queues = queues
                if self._settings.facts is not None:
                    self._settings.facts = replace(self._settings.facts, io_uring=True)
                return InitFlag.OVER_IO_URING
        return InitFlag(0)

    def finish_mounting(self) -> None:
        """Serves the mounting itself, where the device was mounted in stages. MountError.

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
                self._device.move_to_mountpoint(ROOT_NAME)
            except OSError as error:
                problems.append(error)

        with self._handlers.only_root_shown():
            self.serve_beside(settle)
        if self._problem:
            text = f"cannot mount on {self._device.mountpoint}: {self._problem}"
            raise MountError(errno.ECONNABORTED, text)
        if problems:
            raise problems[0]

    def serve_beside(self, work: Callable[[], object]) -> None:
        """Answers requests until `work`, in a thread of its own, is done. It must not raise, nor need the tree."""
        done = os.eventfd(0, os.EFD_CLOEXEC)
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.register(done, select.POLLIN)

        def work_and_tell() -> None:
            try:
                work()
            finally:
                os.eventfd_write(done, 1)

        thread = threading.Thread(target=work_and_tell, daemon=True)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        thread.start()
        while not self.ended and (done, select.POLLIN) not in poll.poll():
            with self.dispatcher.lock:
                self.serve_burst(0)
        sys.setswitchinterval(interval)
        if not self._problem:  # else it may wait for ever for an answer
            thread.join()
            os.close(done)

    @property
    def has_queues(self) -> bool:
        return self._queues is not None

    def close(self) -> None:
        """Afterwards no request is answered."""
        if self._problem:
            _log.error("%s", self._problem)
        if self._queues is not None:
            self._queues.close()

    def serve_burst(self, linger_ms: int) -> None:
        """Answers requests until none has come for a while, or the mount is gone."""
        fd, buffer, buffers, readv = self.fd, self._buffer, [self._buffer], os.readv
        clock, unpack_header = time.perf_counter_ns, abi.IN_HEADER.unpack_from
        answer, replies = self.dispatcher.answer, self._replies
        poll, slow_requests = self._poll, self.dispatcher.slow_requests
        init = int(Opcode.INIT)
        deadline = clock() + BURST_NS
        last_thread, streak = self._last_thread, self._streak
        # As long as waiting here is cheaper than leaving it to trio; by which threads with slow requests report.
        while poll(0 if slow_requests else linger_ms):
            try:
                length = readv(fd, buffers)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                    continue  # ENOENT: the caller was killed before its request was read
                self._reading_failed(error)
                return
            self._in_vain = 0
            if length < HEADER_SIZE:
                self.ended = True  # no device ends so, but a socket in a test
                return
            _, opcode, unique, node, _, _, thread, _, _ = unpack_header(buffer)
            answer(replies, opcode, unique, node, buffer, length)
            if opcode == init and self._queues is not None:
                self._register_queues(self._queues)
                return
            if thread == last_thread:
                streak += 1
                if streak == STREAK:
                    streak = 0
                    self._affinity.move_to(thread)
            elif thread:
                last_thread, streak = thread, 0
            if clock() > deadline:
                break
        self._last_thread, self._streak = last_thread, streak

    def _reading_failed(self, error: OSError) -> None:
        """The end, or no memory: the kernel has then refused that one request itself, and others follow."""
        self._in_vain += 1
        final = error.errno in (errno.ENODEV, errno.ECONNABORTED, errno.EBADF)
        if not final and self._in_vain < FAILURES_IN_VAIN:
            time.sleep(RETRY_SECONDS)
            return
        self.ended = True
        if error.errno != errno.ENODEV:
            self._problem = f"reading /dev/fuse failed: {error.strerror}"

    def _register_queues(self, queues: Queues) -> None:
        try:
            queues.register()
        except OSError as error:
            self.ended = True
            reason = f"({error.strerror}); --engine device does without"
            self._problem = f"the kernel offers FUSE over io_uring and then refuses it {reason}"

    def _forget_attributes(self, node: Node) -> None:
        """Tells the kernel of a change that the reply to come does not tell of.

        Before the reply, never after it: the caller holds the inode as long as it waits, so that the kernel need not
        wait for the end of an eviction, which may need an answer from here.
        """
        with contextlib.suppress(OSError):  # ENOENT: the kernel has forgotten the node
            os.write(self.fd, messages.notify_stale_attributes(node.number))


class _DeviceReplies:
    """Writes to /dev/fuse, whenever the reply comes."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def reply(self, unique: int, body: bytes | memoryview, number: int = 0) -> None:
        size = len(body)
        header = messages.reply_header(unique, size) if not number else messages.error_reply(unique, number)
        try:
            if size <= JOIN_LIMIT:
                os.write(self._fd, header + body)
            else:
                os.writev(self._fd, (header, body))
        except OSError as error:
            # ENOENT: the request was interrupted and nobody waits for it. ENODEV: the next read will say so too.
            if error.errno in (errno.ENOENT, errno.ENODEV):
                return
            _log.error("the kernel refused the reply to request %d: %s", unique, error.strerror)
            if number != errno.EIO:  # the caller must not wait for ever
                self.reply(unique, b"", errno.EIO)

    @property
    def late(self) -> GiveReply:
        return self.reply
