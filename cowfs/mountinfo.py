"""The table of a mount namespace's mounts, proc_pid_mountinfo(5)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple


class MountInfo(NamedTuple):
    number: int
    parent: int
    """The number of the mount that it is mounted on."""
    device: str
    """MAJOR:MINOR"""
    point: str
    """Names that are not UTF-8 as os.fsdecode has them."""
    shared: bool
    """What is mounted and unmounted on it happens to its peers, too."""
    type: str


def mounts_of(process: int | str = "self") -> Iterator[MountInfo]:
    """What a process sees, those on top last. OSError if it is gone, or somebody else's."""
    with open(f"/proc/{process}/mountinfo", "rb") as table:
        yield from map(parsed, table)


def parsed(line: bytes) -> MountInfo:
    fields, _, rest = line.rstrip(b"\n").partition(b" - ")
    number, parent, device, _root, point, _options, *optional = fields.split(b" ")
    return MountInfo(
        int(number),
        int(parent),
        device.decode("ascii"),
        os.fsdecode(point.decode("unicode_escape").encode("latin-1")),
        any(field.startswith(b"shared:") for field in optional),
        rest.split(b" ")[0].decode("ascii", "replace"),
    )
