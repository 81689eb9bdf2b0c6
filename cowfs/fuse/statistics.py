"""What a running engine counted, asked through its mount."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from cowfs.fuse.engine import _makes_sense

STATISTICS_NAME = b"user.cowfs.stats"


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
    # Anybody can give a directory such an attribute.
    try:
        result: dict[str, Any] = json.loads(value)
        if _makes_sense(result):
            return result
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise NoStatisticsError(errno.EBADMSG, f"what {mountpoint} says of itself makes no sense: it is no cowfs")


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
