"""From a request to its reply: by its handler at once, or in a task of tasks.py where that takes long.

One request at a time, wherever they come from. Whoever calls `answer` holds `lock`, which trio's tasks hold as well
while the queues of io_uring have threads (uring_queues.py).
"""

from __future__ import annotations

import errno
import logging
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from cowfs.fuse.callers import is_being_killed
from cowfs.fuse.delay import Again, Delay, TakesLongError, may_only_look_full
from cowfs.fuse.direct.arguments import Message
from cowfs.fuse.direct.handlers import Handlers
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.protocol import abi, messages
from cowfs.fuse.protocol.opcodes import OPCODE_LIMIT
from cowfs.union.copyup import CopyUpNeeded
from cowfs.union.tree import Tree

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


class SlowRequest:
    """One that takes long."""

    def __init__(self, unique: int, opcode: int, thread: int, delay: Delay, give: GiveReply) -> None:
        self.unique = unique
        self.opcode = opcode
        self.thread = thread
        """Of the caller, 0 if unknown."""
        self.delay = delay
        self.give = give
        self.let_go = False
        """Answered before the work was done."""
        self.cancel: Callable[[], None] = lambda: None
        """Ends the work on it, where that is possible."""


class Workers(Protocol):
    """Who works on slow requests; tasks.py."""

    def start(self, request: SlowRequest) -> None:
        """From any thread. In the end it calls Dispatcher.finished."""


class Dispatcher:
    def __init__(self, tree: Tree, settings: EngineSettings) -> None:
        self.lock = threading.Lock()
        self._debug = settings.debug
        self._counters = settings.counters
        self._requests, self._nanoseconds = settings.counters.requests, settings.counters.nanoseconds
        self._tree = tree
        self.handlers = Handlers(tree, settings, self._interrupt)
        self._table = self.handlers.table
        self.slow_requests: dict[int, SlowRequest] = {}
        """By their unique number."""
        self._early_requests: list[SlowRequest] = []
        """Those that came before somebody could work on them: a mount can be used a moment before trio is loaded."""
        self._workers: Workers | None = None

    def begin(self, workers: Workers) -> None:
        """From now on what takes long has a place to run in."""
        self._workers = workers
        early, self._early_requests = self._early_requests, []
        for request in early:
            workers.start(request)

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
            if may_only_look_full(self._tree, problem):
                self._start_again(problem, to, opcode, unique, node, message, length)
            else:
                self._reply(to.reply, unique, b"", problem.errno or errno.EIO)
        except TakesLongError as slow:
            self._start(unique, opcode, slow.delay, to, message)
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
        self._start(unique, opcode, Again(again, problem), to, message)

    def _start(self, unique: int, opcode: int, delay: Delay, to: Replies, message: Message) -> None:
        self._counters.slow += 1
        thread = abi.IN_HEADER.unpack_from(message)[_THREAD]
        request = self.slow_requests[unique] = SlowRequest(unique, opcode, thread, delay, to.late)
        if self._workers is None:
            self._early_requests.append(request)
        else:
            self._workers.start(request)

    def finished(self, request: SlowRequest, result: object) -> None:
        """The reply to a slow request: its body, None if there is none, or what was raised instead."""
        del self.slow_requests[request.unique]
        number = 0
        if isinstance(result, OSError):
            number = result.errno or errno.EIO
        elif isinstance(result, Exception):
            self._log_defect(request.opcode, result)
            number = errno.EIO
        if not request.let_go and (number or result is not None):
            self._reply(request.give, request.unique, b"" if number else cast(bytes, result), number)

    # Callers that are killed

    def _interrupt(self, unique: int) -> None:
        """The caller got a signal, its first since it waits. If it is not known yet, `let_the_killed_go` sees to it."""
        request = self.slow_requests.get(unique)
        if request is not None:
            self._let_go_if_killed(request)

    def let_the_killed_go(self) -> None:
        """The kernel tells of the first signal only, and that need not be the deadly one."""
        for request in list(self.slow_requests.values()):
            self._let_go_if_killed(request)

    def _let_go_if_killed(self, request: SlowRequest) -> None:
        """It need not wait for what cannot be cancelled, as a copy-up; nothing is done for it after that."""
        if not request.let_go and is_being_killed(request.thread):
            request.let_go = True
            request.cancel()
            self._reply(request.give, request.unique, b"", errno.EINTR)
