"""From a request to its reply: by its handler at once, or in a task where that takes long.

One request at a time, wherever they come from. Whoever calls `answer` holds `lock`, which trio's tasks hold as well
while the queues of io_uring have threads (uring_queues.py).
"""

import errno
import logging
import threading
import time
import traceback
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Protocol

import trio

from cowfs.fuse.direct.arguments import Message
from cowfs.fuse.direct.handlers import Handlers, Reply, TakesLongError, Work
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.protocol import messages
from cowfs.fuse.protocol.opcodes import OPCODE_LIMIT
from cowfs.fuse.slow import SlowWork
from cowfs.union.copyup import CopyUpNeeded
from cowfs.union.tree import Tree

INTERRUPTS_KEPT = 64

_log = logging.getLogger("cowfs")


class GiveReply(Protocol):
    """Takes a reply: with an errno and no body when the request failed."""

    def __call__(self, unique: int, body: bytes | memoryview, number: int = 0) -> None: ...


class Replies(Protocol):
    """Takes the reply to one request, or to each."""

    @property
    def reply(self) -> GiveReply: ...

    @property
    def late(self) -> GiveReply:
        """The same for a reply that a task gives, when other requests have been answered since."""


class Dispatcher:
    def __init__(self, tree: Tree, settings: EngineSettings) -> None:
        self.lock = threading.Lock()
        self._debug = settings.debug
        self._counters = settings.counters
        self._slow = SlowWork(tree)
        self.handlers = Handlers(tree, settings, self._slow, self._interrupt)
        self._table = self.handlers.table
        self.slow_requests: dict[int, trio.CancelScope] = {}
        """Requests that are being worked on in tasks, by their unique number."""
        self._interrupted: deque[int] = deque(maxlen=INTERRUPTS_KEPT)
        """Unique numbers, the last ones, of which nothing was known: their requests come from a queue, if at all."""
        self._early_requests: list[tuple[int, trio.CancelScope, Work, GiveReply]] = []
        """Those that came before there could be tasks."""
        self._nursery: trio.Nursery | None = None
        self._trio: trio.lowlevel.TrioToken | None = None
        self._thread = 0

    def end(self) -> None:
        """What takes long is not begun any more: nobody waits for it."""
        self._nursery = None

    def begin(self, nursery: trio.Nursery) -> None:
        """From now on what takes long has a place to run in."""
        self._trio = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._nursery = nursery
        for early in self._early_requests:
            nursery.start_soon(self._finish, *early)

    def answer(self, to: Replies, opcode: int, unique: int, node: int, message: Message, length: int) -> None:
        """Replies now or later, and counts. `message` is good until the return, and may be longer than `length`."""
        started = time.perf_counter_ns()
        if opcode >= OPCODE_LIMIT:
            opcode = 0  # no such opcode: answered and counted as unknown
        self._answer(to, opcode, unique, node, message, length)
        self._counters.requests[opcode] += 1
        self._counters.nanoseconds[opcode] += time.perf_counter_ns() - started

    def _answer(self, to: Replies, opcode: int, unique: int, node: int, message: Message, length: int) -> None:
        if self._debug is not None:
            self._debug(self.handlers.describe(memoryview(message)[:length]))
        try:
            body = self._table[opcode](node, message)
        except TakesLongError as slow:
            self._start(unique, slow.work, to)
        except (CopyUpNeeded, OSError) as problem:
            if isinstance(problem, OSError) and not self._slow.may_only_look_full(problem):
                self._reply(to.reply, unique, b"", problem.errno or errno.EIO)
                return
            again = partial(self._table[opcode], node, bytes(memoryview(message)[:length]))
            self._start(unique, partial(self._slow.finish, again, problem), to)
        except Exception as error:  # whatever a handler does wrong must not end the mount
            self._failed(to.reply, unique, opcode, error)
        else:
            if body is not None:
                self._reply(to.reply, unique, body)

    def _reply(self, give: GiveReply, unique: int, body: bytes | memoryview, number: int = 0) -> None:
        if self._debug is not None:
            self._debug(messages.describe_reply(unique, number, len(body)))
        give(unique, body, number)

    def _failed(self, give: GiveReply, unique: int, opcode: int, error: Exception) -> None:
        """A defect in cowfs: the caller gets EIO, the log one line, and --debug the traceback."""
        _log.error("%s failed unexpectedly: %s: %s", messages.opcode_name(opcode), type(error).__name__, error)
        if self._debug is not None:
            self._debug("".join(traceback.format_exception(error)))
        self._reply(give, unique, b"", errno.EIO)

    # Requests that take long

    def _start(self, unique: int, work: Work, to: Replies) -> None:
        self._counters.slow += 1
        scope = self.slow_requests[unique] = trio.CancelScope()
        if unique in self._interrupted:
            scope.cancel()
        if self._nursery is None or self._trio is None:  # the mount can be used a moment before it is settled
            self._early_requests.append((unique, scope, work, to.late))
        elif threading.get_ident() == self._thread:
            self._start_soon(unique, scope, work, to.late)
        else:
            with suppress(trio.RunFinishedError):
                self._trio.run_sync_soon(self._start_soon, unique, scope, work, to.late)

    def _start_soon(self, unique: int, scope: trio.CancelScope, work: Work, give: GiveReply) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._finish, unique, scope, work, give)

    async def _finish(self, unique: int, scope: trio.CancelScope, work: Work, give: GiveReply) -> None:
        body: Reply = None
        try:
            with scope:
                body = await work()
        except OSError as error:
            self._reply(give, unique, b"", error.errno or errno.EIO)
        except Exception as error:
            self._failed(give, unique, 0, error)
        else:
            if scope.cancelled_caught:
                self._reply(give, unique, b"", errno.EINTR)
            elif body is not None:
                self._reply(give, unique, body)
        finally:
            del self.slow_requests[unique]

    def _interrupt(self, unique: int) -> None:
        """The caller got a signal. What was answered at once is past that; what takes long is given up."""
        scope = self.slow_requests.get(unique)
        if scope is not None:
            scope.cancel()
        else:
            self._interrupted.append(unique)
