"""From a request to its reply: by its handler at once, or in a task where that takes long.

One request at a time, wherever they come from. Whoever calls `answer` holds `lock`, which trio's tasks hold as well
while the queues of io_uring have threads (uring_queues.py).
"""

from __future__ import annotations

import errno
import logging
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import trio

from cowfs.fuse.callers import is_being_killed
from cowfs.fuse.direct.arguments import Message
from cowfs.fuse.direct.handlers import Handlers
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.protocol import abi, messages
from cowfs.fuse.protocol.opcodes import OPCODE_LIMIT
from cowfs.fuse.slow import Reply, SlowWork, TakesLongError, Work
from cowfs.union.copyup import CopyUpNeeded
from cowfs.union.tree import Tree

LOOK_SECONDS = 0.05
"""How often to look whether those who wait are being killed."""

_THREAD = abi.IN_HEADER.fields.index("pid")

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
        """Takes a reply that a task gives, when other requests have been answered since."""


@dataclass(eq=False)
class SlowRequest:
    """One that is worked on in a task."""

    unique: int
    opcode: int
    thread: int
    """Of the caller, 0 if unknown."""
    work: Work
    give: GiveReply
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    let_go: bool = False
    """Answered before the work was done."""


class Dispatcher:
    def __init__(self, tree: Tree, settings: EngineSettings) -> None:
        self.lock = threading.Lock()
        self._debug = settings.debug
        self._counters = settings.counters
        self._requests, self._nanoseconds = settings.counters.requests, settings.counters.nanoseconds
        self._slow = SlowWork(tree)
        self.handlers = Handlers(tree, settings, self._slow, self._interrupt)
        self._table = self.handlers.table
        self.slow_requests: dict[int, SlowRequest] = {}
        """By their unique number."""
        self._early_requests: list[SlowRequest] = []
        """Those that came before there could be tasks."""
        self._watching = False
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
            self._start_soon(early)

    def answer(self, to: Replies, opcode: int, unique: int, node: int, message: Message, length: int) -> None:
        """Replies now or later, and counts. `message` is good until the return, and may be longer than `length`."""
        started = time.perf_counter_ns()
        if opcode >= OPCODE_LIMIT:
            opcode = 0  # no such opcode: answered and counted as unknown
        debug = self._debug
        if debug is not None:
            debug(self.handlers.describe(memoryview(message)[:length]))
        try:
            body = self._table[opcode](node, message)
        except OSError as problem:
            if self._slow.may_only_look_full(problem):
                self._start_again(problem, to, opcode, unique, node, message, length)
            else:
                self._reply(to.reply, unique, b"", problem.errno or errno.EIO)
        except TakesLongError as slow:
            self._start(unique, opcode, slow.work, to, message)
        except CopyUpNeeded as problem:
            self._start_again(problem, to, opcode, unique, node, message, length)
        except Exception as error:  # whatever a handler does wrong must not end the mount
            self._log_defect(opcode, error)
            self._reply(to.reply, unique, b"", errno.EIO)
        else:
            if body is not None:
                if debug is not None:
                    debug(messages.describe_reply(unique, 0, len(body)))
                to.reply(unique, body)
        self._requests[opcode] += 1
        self._nanoseconds[opcode] += time.perf_counter_ns() - started

    def _reply(self, give: GiveReply, unique: int, body: bytes | memoryview, number: int = 0) -> None:
        if self._debug is not None:
            self._debug(messages.describe_reply(unique, number, len(body)))
        give(unique, body, number)

    def _log_defect(self, opcode: int, error: Exception) -> None:
        """The caller gets EIO, the log one line, and --debug the traceback."""
        _log.error("%s failed unexpectedly: %s: %s", messages.opcode_name(opcode), type(error).__name__, error)
        if self._debug is not None:
            self._debug("".join(traceback.format_exception(error)))

    # Requests that take long

    def _start_again(
        self,
        problem: CopyUpNeeded | OSError,
        to: Replies,
        opcode: int,
        unique: int,
        node: int,
        message: Message,
        length: int,
    ) -> None:
        again = partial(self._table[opcode], node, bytes(memoryview(message)[:length]))
        self._start(unique, opcode, partial(self._slow.finish, again, problem), to, message)

    def _start(self, unique: int, opcode: int, work: Work, to: Replies, message: Message) -> None:
        self._counters.slow += 1
        thread = abi.IN_HEADER.unpack_from(message)[_THREAD]
        request = self.slow_requests[unique] = SlowRequest(unique, opcode, thread, work, to.late)
        if self._nursery is None or self._trio is None:  # the mount can be used a moment before it is settled
            self._early_requests.append(request)
        elif threading.get_ident() == self._thread:
            self._start_soon(request)
        else:
            with suppress(trio.RunFinishedError):
                self._trio.run_sync_soon(self._start_soon, request)

    def _start_soon(self, request: SlowRequest) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._finish, request)
            if not self._watching:
                self._watching = True
                self._nursery.start_soon(self._watch)

    async def _finish(self, request: SlowRequest) -> None:
        body: Reply = None
        number = 0
        try:
            with request.scope:
                body = await request.work()
        except OSError as error:
            number = error.errno or errno.EIO
        except Exception as error:
            self._log_defect(request.opcode, error)
            number = errno.EIO
        finally:
            del self.slow_requests[request.unique]
        if not request.let_go and (number or body is not None):
            self._reply(request.give, request.unique, body or b"", number)

    # Callers that are killed

    def _interrupt(self, unique: int) -> None:
        """The caller got a signal, its first since it waits. If it is not known yet, `_watch` will see to it."""
        request = self.slow_requests.get(unique)
        if request is not None:
            self._let_go_if_killed(request)

    async def _watch(self) -> None:
        """Until no work is left. The kernel tells of the first signal only, and that need not be the deadly one."""
        while self.slow_requests:
            await trio.sleep(LOOK_SECONDS)
            for request in list(self.slow_requests.values()):
                self._let_go_if_killed(request)
        self._watching = False

    def _let_go_if_killed(self, request: SlowRequest) -> None:
        """It need not wait for what cannot be cancelled, as a copy-up; nothing is done for it after that."""
        if not request.let_go and is_being_killed(request.thread):
            request.let_go = True
            request.scope.cancel()
            self._reply(request.give, request.unique, b"", errno.EINTR)
