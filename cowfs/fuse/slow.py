"""Work that would stall every other request goes to worker threads; both engines do it here, in one way.

The union belongs to whoever holds the engine's lock, which no worker thread does. So a thread gets only what needs no
union: a borrowed descriptor to read from or to sync, or the copying part of a copy-up job.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import trio

from cowfs.fuse.delay import NO_SPACE, Again, Delay, Read, Sync, SyncAll
from cowfs.union import copyup, data
from cowfs.union.copyup import CopyUpNeeded
from cowfs.union.nodes import Node
from cowfs.union.tree import Tree

_PAUSES = (0.002, 0.02, 0.2)
"""Seconds to wait for the kernel to forget what was unlinked, one after the other."""


class SlowWork:
    """The slow work in progress on one tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._copies: dict[Node, trio.Event] = {}
        """Nodes being copied up, and who waits for the end of it."""

    async def do(self, delay: Delay) -> object:
        """What the operation returns, or the reply's body. OSError: the errno of the reply."""
        match delay:
            case Again(operation, problem):
                return await self._finish(operation, problem)
            case Read(node, offset, size):
                return await self.read(node, offset, size)
            case Sync(node, data_only):
                return await self.sync(node, data_only=data_only)
            case SyncAll():
                data.sync_all(self._tree)
                return b""

    async def _finish(self, operation: Callable[[], object], problem: CopyUpNeeded | OSError) -> object:
        """The result of an operation that met a problem which passes: a copy-up to be made, or a full disk.

        It is repeated until it meets neither.
        """
        pauses = iter(_PAUSES)
        while True:
            orphans = self._tree.upper.orphans()
            try:
                if isinstance(problem, CopyUpNeeded):
                    await self._copy_up(problem.node)
                    await trio.lowlevel.checkpoint_if_cancelled()  # no change is made for a caller that was killed
                return operation()
            except CopyUpNeeded as again:
                problem = again
            except OSError as error:
                if error.errno not in NO_SPACE or not await self._space_came_free(orphans, pauses):
                    raise

    async def _space_came_free(self, before: int, pauses: Iterator[float]) -> bool:
        """Whether unlinked files are gone that were there before: since then, or after a pause."""
        while (orphans := self._tree.upper.orphans()) >= before:
            pause = next(pauses, None)
            if not orphans or pause is None:
                return False
            await trio.sleep(pause)
        return True

    async def _copy_up(self, node: Node) -> None:
        """Copies up, or waits for whoever is already doing it.

        When that fails, those who waited ask again, and one of them tries and meets the error itself.
        """
        others = self._copies.get(node)
        if others is not None:
            await others.wait()
            return
        done = self._copies[node] = trio.Event()
        try:
            job = copyup.begin(self._tree, node)
            try:
                await trio.to_thread.run_sync(job.copy)
            except BaseException:
                job.abandon()
                raise
            job.commit()
        finally:
            del self._copies[node]
            done.set()

    async def read(self, node: Node, offset: int, size: int) -> bytes:
        """Up to `size` bytes, however long the disk takes."""
        fd = data.borrow(self._tree, node)
        return await trio.to_thread.run_sync(_read_and_close, fd, offset, size, abandon_on_cancel=True)

    async def sync(self, node: Node, *, data_only: bool) -> bytes:
        """Brings a file or directory to the disk, where the base is already; the reply has no body."""
        if node.upper:
            fd = data.borrow(self._tree, node)
            await trio.to_thread.run_sync(_sync_and_close, fd, data_only, abandon_on_cancel=True)
        return b""


def _read_and_close(fd: int, offset: int, size: int) -> bytes:
    try:
        content = os.pread(fd, size, offset)
        while 0 < len(content) < size:
            more = os.pread(fd, size - len(content), offset + len(content))
            if not more:
                break
            content += more
        return content
    finally:
        os.close(fd)


def _sync_and_close(fd: int, data_only: bool) -> None:
    try:
        if data_only:
            os.fdatasync(fd)
        else:
            os.fsync(fd)
    finally:
        os.close(fd)
