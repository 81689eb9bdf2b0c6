"""What both engines are given and both keep: settings, and counters that `cowfs stats` reads.

The counters travel through the mount itself, as the value of an extended attribute of the root that no
listing shows. Nothing waits for a question, so nothing is to be cleaned up, and whoever may read the root
directory may ask.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from cowfs.fuse.protocol.abi import OPCODE_LIMIT, Opcode
from cowfs.union.uses import Uses


class Counters:
    """Requests by opcode, and nanoseconds spent in the handler: lists, since they are counted on the hot path."""

    def __init__(self) -> None:
        self.requests = [0] * OPCODE_LIMIT
        self.nanoseconds = [0] * OPCODE_LIMIT
        self.slow = 0
        """Requests that had to wait for a worker thread."""

    def as_json(self, facts: dict[str, Any], **caches: int) -> bytes:
        """`facts`: what the mount says of itself. `caches`: sizes worth knowing, by name."""
        by_opcode = {
            opcode.name: {"requests": self.requests[opcode], "ns": self.nanoseconds[opcode]}
            for opcode in Opcode
            if self.requests[opcode]
        }
        return json.dumps({"opcodes": by_opcode, "slow": self.slow, "caches": caches, "mount": facts}).encode()


class EngineSettings:
    """How an engine shall serve."""

    def __init__(
        self,
        *,
        debug: Callable[[str], None] | None = None,
        durable: bool = False,
        io_uring: bool = True,
        counters: Counters | None = None,
        facts: dict[str, Any] | None = None,
        uses: Uses | None = None,
    ) -> None:
        self.debug = debug
        """Takes one line for what was negotiated and for every request and reply; None: no such lines are made."""
        self.durable = durable
        """fsync reaches the disk. Otherwise it is not even asked for: a throw-away layer need not survive."""
        self.io_uring = io_uring
        """Whether to use it where the kernel offers it."""
        self.facts = facts if facts is not None else {}
        """What the mount says of itself to whoever asks for its statistics."""
        self.counters = counters if counters is not None else Counters()
        self.uses = uses
        """Told of each use of a file: the kernel is then asked for more than it would tell. None: for no more."""


def _makes_sense(result: dict[str, Any]) -> bool:
    mount = result["mount"]
    paths = [mount["upper"], *mount["bases"], *([] if mount["layer"] is None else [mount["layer"]])]
    numbers = [mount["process"], result["slow"], *result["caches"].values()]
    for counted in result["opcodes"].values():
        numbers += [counted["requests"], counted["ns"]]
    return (
        isinstance(mount["engine"], str)
        and all(isinstance(path, str) and b"\0" not in os.fsencode(path) for path in paths)
        and all(isinstance(number, int) and 0 <= number < 1 << 64 for number in numbers)
        and all(counted["requests"] for counted in result["opcodes"].values())
        and isinstance(mount["temporary"], bool)
    )
