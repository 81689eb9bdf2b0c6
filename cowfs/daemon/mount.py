"""From options to a mount that can be served: bases and layer -> Tree -> engine. serving.py serves it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from cowfs.daemon.control import ControlSocket
from cowfs.daemon.request import MountRequest, make_upper, refuse_overlap
from cowfs.daemon.trace_file import Trace
from cowfs.fuse.device import Device, MountError
from cowfs.fuse.device import mount as mount_device
from cowfs.fuse.direct.loop import DirectEngine
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.statistics import MountFacts
from cowfs.layer.directory import Upper
from cowfs.layer.open_layer import OpenLayer
from cowfs.union.uses import Uses

TRACE_SIGNAL = signal.SIGUSR1

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Copying up this much takes well under a millisecond from memory; more goes to a thread.
_INLINE_COPY = 256 * 1024


class Mount:
    """A mounted session that waits to be served. Everything it holds is given back by `close`."""

    def __init__(self, request: MountRequest) -> None:
        """LayerError or MountError, each a sentence for the user."""
        self.request = request
        io_uring = request.engine == "direct"
        self.settings = EngineSettings(debug=request.debug, durable=request.durable, io_uring=io_uring)
        self.trace: Trace | None = None
        self.engine: DirectEngine | None = None
        self.control: ControlSocket | None = None
        with ExitStack() as undo:
            # From here on a signal waits until it can be met with an orderly end.
            self.ending = _ending_signals()
            waiting = self.ending if request.trace is None else (*self.ending, TRACE_SIGNAL)
            undo.callback(signal.pthread_sigmask, signal.SIG_UNBLOCK, waiting)
            signal.pthread_sigmask(signal.SIG_BLOCK, waiting)
            self.layer = self._open(undo)
            self.tree = self.layer.tree
            if request.trace is not None:
                self.settings.uses = Uses(self.tree)
                bases = [base.resolve() for base in request.bases]
                self.trace = Trace(request.trace.absolute(), bases, self.settings.uses)
            os.umask(0)  # the union applies the caller's
            direct = request.engine != "pyfuse3"
            self.device = mount_device(request.mountpoint, request.options, staged=direct and request.staged)
            undo.callback(self.device.close)
            if direct:
                self.engine = DirectEngine(self.device, self.tree, self.settings)
                try:
                    self.engine.finish_mounting()
                except OSError:
                    unmount_quietly(self.device)
                    raise
            self._end = undo.pop_all()

    def _open(self, undo: ExitStack) -> OpenLayer:
        """Open bases and layer; `undo` gets what is to be done at the end, in whatever way it comes."""
        request = self.request
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
        self.settings.facts = _facts(request, layer.place, layer.bases)
        if layer.place.directory is not None:
            with suppress(OSError):  # a file system without sockets: such a mount takes no orders
                self.control = ControlSocket(layer.place.directory)
                undo.callback(self.control.close)
        return layer

    def serve_beside(self, work: Callable[[], object]) -> None:
        """Answer until `work` is done, as DirectEngine.serve_beside; the pyfuse3 engine cannot, and just does it."""
        if self.engine is None:
            work()
        else:
            self.engine.serve_beside(work)

    def close(self) -> None:
        """After the mount has gone: the layer is clean, or removed if it was temporary. TraceError."""
        with self._end:
            if self.trace is not None:
                self.trace.write()


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


def unmount_quietly(device: Device) -> None:
    with suppress(MountError):  # gone already
        device.unmount(lazy=True)
