"""The life of a mount: its engine, its signals and its control socket, as tasks of trio."""

from __future__ import annotations

import logging
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from cowfs.daemon.answering import answer_questions
from cowfs.daemon.mount import TRACE_SIGNAL, Mount, unmount_quietly
from cowfs.daemon.trace_file import Trace, TraceError
from cowfs.fuse.direct import tasks
from cowfs.layer.metadata import LayerError

_log = logging.getLogger("cowfs")


def run(mount: Mount) -> None:
    """Answer until the mount is gone; SIGINT, SIGTERM and SIGHUP unmount it."""
    trio.run(_serve, mount)


async def _serve(mount: Mount) -> None:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_unmount_on_signal, mount, nursery.cancel_scope)
            if mount.trace is not None:
                nursery.start_soon(_write_on_signal, mount.trace)
            if mount.control is not None:
                nursery.start_soon(answer_questions, mount.control, partial(_snapshot, mount))
            if mount.engine is None:
                from cowfs.fuse import pyfuse3_engine  # its C library is needed by nobody else

                await pyfuse3_engine.serve(mount.device, mount.tree, mount.settings)
            else:
                await tasks.run(mount.engine)
            nursery.cancel_scope.cancel()
    except BaseException:
        unmount_quietly(mount.device)  # rather no mount than a dead one
        raise


async def _write_on_signal(trace: Trace) -> None:
    """As log files are rotated: the file gets what was used since it was last written."""
    with trio.open_signal_receiver(TRACE_SIGNAL) as received:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [TRACE_SIGNAL])
        async for _ in received:
            try:
                trace.write()
            except TraceError as error:
                _log.error("%s", error)


async def _snapshot(mount: Mount, directory: Path) -> None:
    """Freeze the layer between two requests, when no copy-up is under way. LayerError."""
    if mount.trace is not None:
        raise LayerError("A mount with --trace cannot be frozen: the trace says which base each file came from.")
    while mount.tree.copy_ups.running:
        none_runs = trio.Event()
        mount.tree.copy_ups.when_none_run(none_runs.set)
        await none_runs.wait()  # another may begin before this task goes on
    mount.layer.freeze(directory)
    if mount.control is not None:
        mount.control.moved(directory)
    if mount.settings.facts is not None:
        bases = tuple(map(str, mount.layer.bases))
        mount.settings.facts = replace(mount.settings.facts, bases=bases)


async def _unmount_on_signal(mount: Mount, scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(*mount.ending) as received:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, mount.ending)
        try:
            async for _ in received:
                # In a thread, and lazily: others may be in the mount, and unmounting may ask the engine.
                await trio.to_thread.run_sync(unmount_quietly, mount.device)
                scope.cancel()
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, mount.ending)
