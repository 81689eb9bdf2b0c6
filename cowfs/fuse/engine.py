"""What both engines are given and both keep: settings, and counters that `cowfs stats` reads (statistics.py)."""

from __future__ import annotations

from collections.abc import Callable

from cowfs.fuse.protocol.opcodes import OPCODE_LIMIT, Opcode
from cowfs.fuse.statistics import MountFacts, Requests, Statistics
from cowfs.union.uses import Uses

FAILURES_IN_VAIN = 100
"""Reading /dev/fuse may fail, for want of memory say, and the mount lives on: so often until a request comes again."""
RETRY_SECONDS = 0.01


class Counters:
    """Requests by opcode, and nanoseconds spent in the handler: lists, since they are counted on the hot path."""

    def __init__(self) -> None:
        self.requests = [0] * OPCODE_LIMIT
        self.nanoseconds = [0] * OPCODE_LIMIT
        self.slow = 0
        """Requests that had to wait for a worker thread."""

    def statistics(self, facts: MountFacts | None, **caches: int) -> Statistics:
        """`facts`: what the mount says of itself. `caches`: sizes worth knowing, by name."""
        by_opcode = {
            opcode.name: Requests(self.requests[opcode], self.nanoseconds[opcode])
            for opcode in Opcode
            if self.requests[opcode]
        }
        return Statistics(by_opcode, self.slow, caches, facts)


class EngineSettings:
    """How an engine shall serve."""

    def __init__(
        self,
        *,
        debug: Callable[[str], None] | None = None,
        durable: bool = False,
        io_uring: bool = True,
        counters: Counters | None = None,
        uses: Uses | None = None,
    ) -> None:
        self.debug = debug
        """Takes one line for what was negotiated and for every request and reply; None: no such lines are made."""
        self.durable = durable
        """fsync reaches the disk. Otherwise it is not even asked for: a throw-away layer need not survive."""
        self.io_uring = io_uring
        """Whether to use it where the kernel offers it."""
        self.facts: MountFacts | None = None
        """What the mount says of itself to whoever asks for its statistics."""
        self.counters = counters if counters is not None else Counters()
        self.uses = uses
        """Told of each use of a file: the kernel is then asked for more than it would tell. None: for no more."""
