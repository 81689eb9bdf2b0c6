"""What both engines are given and both keep: settings, and counters that `cowfs stats` reads.

The counters travel through the mount itself, as the value of an extended attribute of the root that no
listing shows. Nothing waits for a question, so nothing is to be cleaned up, and whoever may read the root
directory may ask.
"""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cowfs.fuse.abi import OPCODE_LIMIT, Opcode
from cowfs.union.uses import Uses

STATISTICS_NAME = b"user.cowfs.stats"


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


class NoStatisticsError(OSError):
    """One plain sentence, as str() of the error."""

    def __str__(self) -> str:
        return str(self.args[1])


def read_statistics(mountpoint: Path) -> dict[str, Any]:
    """What the engine behind this mount counted. Raises NoStatisticsError."""
    try:
        value = os.getxattr(mountpoint, STATISTICS_NAME)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            raise NoStatisticsError(error.errno, f"no cowfs is mounted on {mountpoint}") from error
        raise NoStatisticsError(error.errno, f"cannot ask {mountpoint}: {error.strerror}") from error
    result: dict[str, Any] = json.loads(value)
    return result


def statistics_table(statistics: dict[str, Any]) -> str:
    """Lines for a person: opcode, requests, total and mean time in the handler; the most requested first."""
    rows = sorted(statistics["opcodes"].items(), key=lambda item: -item[1]["requests"])
    lines = [f"{'request':<20}{'count':>10}{'total ms':>12}{'mean us':>10}"]
    for name, numbers in rows:
        requests, nanoseconds = numbers["requests"], numbers["ns"]
        lines.append(f"{name:<20}{requests:>10}{nanoseconds / 1e6:>12.1f}{nanoseconds / requests / 1e3:>10.1f}")
    requests = sum(numbers["requests"] for _, numbers in rows)
    nanoseconds = sum(numbers["ns"] for _, numbers in rows)
    mean = nanoseconds / requests / 1e3 if requests else 0.0
    lines.append(f"{'all':<20}{requests:>10}{nanoseconds / 1e6:>12.1f}{mean:>10.1f}")
    lines.append(f"waited for a worker thread: {statistics['slow']}")
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in statistics["caches"].items()]
    return "\n".join(lines)
