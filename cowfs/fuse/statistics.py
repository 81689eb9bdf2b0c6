"""What a running engine counts, and what the mount says of itself; read through the mount, and written, only here.

It travels as JSON, the value of an extended attribute of the root that no listing shows. Nothing waits for a question,
so nothing is to be cleaned up, and whoever may read the root directory may ask.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from cowfs.untrusted_json import parse_json

Value = TypeVar("Value")


STATISTICS_NAME = b"user.cowfs.stats"


class NoStatisticsError(OSError):
    """One plain sentence, as str() of the error."""

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True)
class MountFacts:
    """What a mount says of itself."""

    bases: tuple[str, ...]
    layer: str | None
    """The layer's directory; None for a mount with upperdir=."""
    upper: str
    temporary: bool
    engine: str
    process: int
    io_uring: bool = False

    @property
    def engine_words(self) -> str:
        return f"{self.engine} over io_uring" if self.io_uring else self.engine


@dataclass(frozen=True)
class Requests:
    """Of one opcode: how many, and the time in the handler."""

    count: int
    nanoseconds: int


@dataclass(frozen=True)
class Statistics:
    """Requests by the name of their opcode; how many had to wait for a worker thread; sizes of caches by name."""

    opcodes: Mapping[str, Requests]
    slow: int
    caches: Mapping[str, int]
    mount: MountFacts | None

    @property
    def requests(self) -> int:
        return sum(of_opcode.count for of_opcode in self.opcodes.values())

    def as_json(self) -> bytes:
        by_opcode = {name: {"requests": of.count, "ns": of.nanoseconds} for name, of in self.opcodes.items()}
        facts = {} if self.mount is None else asdict(self.mount)
        fields = {"opcodes": by_opcode, "slow": self.slow, "caches": self.caches, "mount": facts}
        return json.dumps(fields).encode()


def read_statistics(mountpoint: Path) -> Statistics:
    """What the engine behind this mount counted. NoStatisticsError."""
    try:
        value = os.getxattr(mountpoint, STATISTICS_NAME)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            raise NoStatisticsError(error.errno, f"no cowfs is mounted on {mountpoint}") from error
        raise NoStatisticsError(error.errno, f"cannot ask {mountpoint}: {error.strerror}") from error
    try:
        return _parsed(value)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NoStatisticsError(
            errno.EPROTO, f"what {mountpoint} says of itself makes no sense: it is no cowfs of this version"
        ) from error


def read_facts(mountpoint: Path) -> MountFacts:
    """What the mount says of itself. NoStatisticsError."""
    facts = read_statistics(mountpoint).mount
    if facts is None:
        raise NoStatisticsError(errno.ENODATA, f"the mount on {mountpoint} says nothing of itself")
    return facts


def _parsed(value: bytes) -> Statistics:
    """ValueError, KeyError, TypeError or AttributeError for what makes no sense: anybody can give such an attribute."""
    content = parse_json(value)
    opcodes = {
        str(name): Requests(_number(of["requests"], least=1), _number(of["ns"]))
        for name, of in content["opcodes"].items()
    }
    caches = {str(name): _number(size) for name, size in content["caches"].items()}
    facts = content["mount"]
    return Statistics(opcodes, _number(content["slow"]), caches, _parsed_facts(facts) if facts else None)


def _parsed_facts(facts: Any) -> MountFacts:
    return MountFacts(
        bases=tuple(map(_path, facts["bases"])),
        layer=None if facts["layer"] is None else _path(facts["layer"]),
        upper=_path(facts["upper"]),
        temporary=_of_type(bool, facts["temporary"]),
        engine=_of_type(str, facts["engine"]),
        process=_number(facts["process"]),
        io_uring=_of_type(bool, facts.get("io_uring", False)),
    )


def _of_type(kind: type[Value], value: Any) -> Value:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _number(value: Any, least: int = 0) -> int:
    if not least <= _of_type(int, value) < 1 << 64:
        raise ValueError(f"{value} is no number of this kind")
    return int(value)


def _path(value: Any) -> str:
    if b"\0" in os.fsencode(_of_type(str, value)):
        raise ValueError("no path has a NUL in it")
    return str(value)


def statistics_table(statistics: Statistics) -> str:
    """Lines for a person: opcode, requests, total and mean time in the handler; the most requested first."""
    rows = sorted(statistics.opcodes.items(), key=lambda item: -item[1].count)
    lines = [f"{'request':<20}{'count':>10}{'total ms':>12}{'mean us':>10}"]
    nanoseconds = sum(of.nanoseconds for _, of in rows)
    for name, of in [*rows, ("all", Requests(statistics.requests, nanoseconds))]:
        mean = of.nanoseconds / of.count / 1e3 if of.count else 0.0
        lines.append(f"{name:<20}{of.count:>10}{of.nanoseconds / 1e6:>12.1f}{mean:>10.1f}")
    lines.append(f"waited for a worker thread: {statistics.slow}")
    lines += [f"{name.replace('_', ' ')}: {value}" for name, value in statistics.caches.items()]
    return "\n".join(lines)
