"""Trio's part of the direct engine: its wait for requests, and a task for each that takes long.

A module of its own, loaded when the mount answers already: trio takes longer to load than a mount to make.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import trio

from cowfs.fuse.direct.dispatch import Dispatcher, SlowRequest
from cowfs.fuse.direct.loop import LINGER_MS, DirectEngine
from cowfs.fuse.slow import SlowWork
from cowfs.union.tree import Tree

GATHER_SECONDS = 0.005
"""With queues, FORGETs are left to gather so long: nobody waits for them, and many are read at once."""

LOOK_SECONDS = 0.05
"""How often to look whether those who wait are being killed."""


@trio.lowlevel.enable_ki_protection
async def run(engine: DirectEngine) -> None:
    """Answers requests until the file system is unmounted, or the surrounding cancel scope is cancelled."""
    tasks: Tasks | None = None
    try:
        with _taking_turns(engine.dispatcher.lock):
            async with trio.open_nursery() as nursery:
                tasks = Tasks(engine.tree, engine.dispatcher, nursery)
                engine.dispatcher.begin(tasks)
                while not engine.ended:
                    await trio.lowlevel.wait_readable(engine.fd)
                    if engine.has_queues:
                        await trio.sleep(GATHER_SECONDS)
                    engine.serve_burst(0 if engine.has_queues else LINGER_MS)
                nursery.cancel_scope.cancel()
    finally:
        if tasks is not None:
            tasks.end()
        engine.close()


class Tasks:
    """One for each slow request, all in one nursery."""

    def __init__(self, tree: Tree, dispatcher: Dispatcher, nursery: trio.Nursery) -> None:
        self._slow = SlowWork(tree)
        self._dispatcher = dispatcher
        self._nursery: trio.Nursery | None = nursery
        self._trio = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()
        self._watching = False

    def end(self) -> None:
        """What takes long is not begun any more: nobody waits for it."""
        self._nursery = None

    def start(self, request: SlowRequest) -> None:
        """From any thread."""
        if threading.get_ident() == self._thread:
            self._start_soon(request)
        else:
            with contextlib.suppress(trio.RunFinishedError):
                self._trio.run_sync_soon(self._start_soon, request)

    def _start_soon(self, request: SlowRequest) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._finish, request)
            if not self._watching:
                self._watching = True
                self._nursery.start_soon(self._watch)

    async def _finish(self, request: SlowRequest) -> None:
        result: object = None
        try:
            with trio.CancelScope() as scope:
                request.cancel = scope.cancel
                if not request.let_go:
                    result = await self._slow.do(request.delay)
        except Exception as error:
            result = error
        finally:
            self._dispatcher.finished(request, result)

    async def _watch(self) -> None:
        """Until no work is left."""
        while self._dispatcher.slow_requests:
            await trio.sleep(LOOK_SECONDS)
            self._dispatcher.let_the_killed_go()
        self._watching = False


class _Turns(trio.abc.Instrument):
    """Gives the others their turn while trio waits."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock

    def before_io_wait(self, timeout: float) -> None:
        self._lock.release()

    def after_io_wait(self, timeout: float) -> None:
        self._lock.acquire()


@contextlib.contextmanager
def _taking_turns(lock: threading.Lock) -> Iterator[None]:
    """Tasks of trio hold the lock, all of them and whatever they do, except while none can go on."""
    turns = _Turns(lock)
    lock.acquire()
    trio.lowlevel.add_instrument(turns)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(turns)
        lock.release()
