"""Mounts of cowfs that only other mount namespaces have: made there, or unmounted here and kept there."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cowfs.fuse.statistics import NoStatisticsError, read_statistics

TYPE = b"fuse.cowfs"

# Seconds: other people's daemons may hang.
_EACH_WITHIN = 1.0
_ANSWERED_WITHIN = 5.0


class Held(NamedTuple):
    process: int
    """One of those in the namespace, the eldest."""
    mountpoint: str
    """As it is named there."""


def holder_of(upper: Path) -> Held | None:
    """Who has a mount that writes to ``upper`` and is not in sight here; None where that cannot be found out."""
    asked = {device for device, _point in _mounts("self")}
    seen = {_namespace("self")}
    give_up = time.monotonic() + _ANSWERED_WITHIN
    for process in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        namespace = _namespace(str(process))
        if namespace is None or namespace in seen:
            continue
        seen.add(namespace)
        for device, point in _mounts(str(process)):
            if device in asked:
                continue
            asked.add(device)
            if _writes_to(Path(f"/proc/{process}/root{point}"), upper, give_up):
                return Held(process, point)
    return None


def daemon_of(upper: Path) -> int | None:
    """The process that holds the lock of a layer, proc_locks(5); None if it is in a PID namespace out of sight."""
    inode = str(upper.stat().st_ino)
    with suppress(OSError), open("/proc/locks") as table:
        for line in table:
            fields = line.split()
            if "FLOCK" in fields[:2] and fields[5].rpartition(":")[2] == inode and int(fields[4]) > 0:
                return int(fields[4])
    return None


def _namespace(process: str) -> str | None:
    try:
        return os.readlink(f"/proc/{process}/ns/mnt")
    except OSError:  # gone, or somebody else's
        return None


def _mounts(process: str) -> Iterator[tuple[str, str]]:
    """Device number and mount point of each cowfs that a process sees, proc_pid_mountinfo(5)."""
    with suppress(OSError), open(f"/proc/{process}/mountinfo", "rb") as table:
        for line in table:
            fields, _, rest = line.partition(b" - ")
            if rest.split(b" ", 1)[0] == TYPE:
                _identity, _parent, device, _root, point = fields.split()[:5]
                yield device.decode(), os.fsdecode(point.decode("unicode_escape").encode("latin-1"))


def _writes_to(mount: Path, upper: Path, give_up: float) -> bool:
    """Asked in a thread of its own, which is left behind where the daemon does not answer."""
    answers: list[str] = []

    def ask() -> None:
        with suppress(NoStatisticsError):
            answers.append(read_statistics(mount)["mount"]["upper"])

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(max(0.0, min(_EACH_WITHIN, give_up - time.monotonic())))
    return answers == [str(upper.resolve())]
