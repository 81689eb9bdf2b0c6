"""From options to a served mount: bases and layer -> Tree -> engine."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from cowfs.daemon.control import ControlSocket
from cowfs.daemon.request import MountRequest, make_upper, refuse_overlap
from cowfs.daemon.trace_file import Trace, TraceError
from cowfs.fuse.device import Device, MountError
from cowfs.fuse.device import mount as mount_device
from cowfs.fuse.direct.loop import DirectEngine
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.statistics import MountFacts
from cowfs.layer.directory import Upper
from cowfs.layer.metadata import LayerError
from cowfs.layer.open_layer import OpenLayer
from cowfs.union.uses import Uses

_log = logging.getLogger("cowfs")


TRACE_SIGNAL = signal.SIGUSR1

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Copying up this much takes well under a millisecond from memory; more goes to a thread.
_INLINE_COPY = 256 * 1024


class Mount:
    """A mounted session that waits to be served. Everything it holds is given back by `close`."""

    def __init__(self, request: MountRequest) -> None:
        """LayerError or MountError, each a sentence for the user."""
        self._request = request
        io_uring = request.engine == "direct"
        self._settings = EngineSettings(debug=request.debug, durable=request.durable, io_uring=io_uring)
        self._trace: Trace | None = None
        self._engine: DirectEngine | None = None
        self._control: ControlSocket | None = None
        with ExitStack() as undo:
            # From here on a signal waits until it can be met with an orderly end.
            self._ending = _ending_signals()
            waiting = self._ending if request.trace is None else (*self._ending, TRACE_SIGNAL)
            undo.callback(signal.pthread_sigmask, signal.SIG_UNBLOCK, waiting)
            signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
            self._layer = self._open(undo)
            self.tree = self._layer.tree
            if request.trace is not None:
                self._settings.uses = Uses(self.tree)
                bases = [base.resolve() for base in request.bases]
                self._trace = Trace(request.trace.absolute(), bases, self._settings.uses)
            os.umask(0)  # the union applies the caller's
            direct = request.engine != "pyfuse3"
            self._device = mount_device(request.mountpoint, request.options, staged=direct and request.staged)
            undo.callback(self._device.close)
            if direct:
                self._engine = DirectEngine(self._device, self.tree, self._settings)
                try:
                    self._engine.finish_mounting()
                except OSError:
                    _unmount_quietly(self._device)
                    raise
            self._end = undo.pop_all()

    def _open(self, undo: ExitStack) -> OpenLayer:
        """Open bases and layer; `undo` gets what is to be done at the end, in whatever way it comes."""
        request = self._request
        refuse_overlap(request)
        layer = OpenLayer(
            [base.resolve() for base in request.bases],
            partial(make_upper, request),
            user_marks=request.user_marks,
            durable=request.durable,
            quota=request.quota,
            variation=request.variation,
        )
        undo.callback(layer.close)
        layer.tree.copy_ups.inline_limit = _INLINE_COPY
        layer.tree.access_time_flag = os.O_NOATIME if request.options.noatime else 0
        self._settings.facts = _facts(request, layer.place, layer.bases)
        if layer.place.directory is not None:
            with suppress(OSError):  # a file system without sockets: such a mount takes no orders
                self._control = ControlSocket(layer.place.directory)
                undo.callback(self._control.close)
        return layer

    async def serve(self) -> None:
        """Answer until the mount is gone; SIGINT, SIGTERM and SIGHUP unmount it."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._unmount_on_signal, nursery.cancel_scope)
                if self._trace is not None:
                    nursery.start_soon(self._write_on_signal, self._trace)
                if self._control is not None:
                    nursery.start_soon(self._control.serve, self._snapshot)
                if self._engine is None:
                    from cowfs.fuse import pyfuse3_engine  # its C library is needed by nobody else

                    await pyfuse3_engine.serve(self._device, self.tree, self._settings)
                else:
                    await self._engine.run()
                nursery.cancel_scope.cancel()
        except BaseException:
            _unmount_quietly(self._device)  # rather no mount than a dead one
            raise

    def close(self) -> None:
        """After the mount has gone: the layer is clean, or removed if it was temporary. TraceError."""
        with self._end:
            if self._trace is not None:
                self._trace.write()

    async def _write_on_signal(self, trace: Trace) -> None:
        """As log files are rotated: the file gets what was used since it was last written."""
        with trio.open_signal_receiver(TRACE_SIGNAL) as received:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [TRACE_SIGNAL])
            async for _ in received:
                try:
                    trace.write()
                except TraceError as error:
                    _log.error("%s", error)

    async def _snapshot(self, directory: Path) -> None:
        """Freeze the layer between two requests, when no copy-up is under way. LayerError."""
        if self._trace is not None:
            raise LayerError("A mount with --trace cannot be frozen: the trace says which base each file came from.")
        while self.tree.copy_ups.running:
            none_runs = trio.Event()
            self.tree.copy_ups.when_none_run(none_runs.set)
            await none_runs.wait()  # another may begin before this task goes on
        self._layer.freeze(directory)
        if self._control is not None:
            self._control.moved(directory)
        if self._settings.facts is not None:
            bases = tuple(map(str, self._layer.bases))
            self._settings.facts = replace(self._settings.facts, bases=bases)

    async def _unmount_on_signal(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(*self._ending) as received:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._ending)
            try:
                async for _ in received:
                    # In a thread, and lazily: others may be in the mount, and unmounting may ask the engine.
                    await trio.to_thread.run_sync(_unmount_quietly, self._device)
                    scope.cancel()
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, self._ending)


def _ending_signals() -> tuple[signal.Signals, ...]:
    """Those of ENDING_SIGNALS that nobody, nohup(1) for one, asked to ignore. SIGTERM is always among them."""
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN]
    return tuple(number for number in ENDING_SIGNALS if number not in ignored)


def _facts(request: MountRequest, place: Upper, bases: list[Path]) -> MountFacts:
    return MountFacts(
        bases=tuple(map(str, bases)),
        layer=None if place.directory is None else str(place.directory),
        upper=str(place.upper),
        temporary=place.temporary,
        engine=request.engine,
        process=os.getpid(),
    )


def _unmount_quietly(device: Device) -> None:
    with suppress(MountError):  # gone already
        device.unmount(lazy=True)
