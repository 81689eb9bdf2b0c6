"""Mounts of cowfs that only other mount namespaces have: made there, or unmounted here and kept there."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cowfs.fuse.statistics import NoStatisticsError, read_facts
from cowfs.layer.lock import LayerInUseError
from cowfs.mountinfo import mounts_of

TYPE = "fuse.cowfs"

# Seconds: other people's daemons may hang.
_EACH_WITHIN = 1.0
_ANSWERED_WITHIN = 5.0


class Held(NamedTuple):
    process: int
    """One of those in the namespace, the eldest."""
    mountpoint: str
    """As it is named there."""


def sentence(error: LayerInUseError) -> str:
    """What to tell of a layer that is in use: where, if it is mounted in another mount namespace only."""
    held = holder_of(error.upper)
    if held is None:
        return str(error)
    daemon = daemon_of(error.upper)
    remedy = "" if daemon is None else f", or end the daemon for all: kill {daemon}"
    return (
        f"The layer {error.upper} is not mounted here, but still at {held.mountpoint} in the mount namespace "
        f"of process {held.process}: end that process{remedy}."
    )


def holder_of(upper: Path) -> Held | None:
    """Who has a mount that writes to `upper` and is not in sight here; None where that cannot be found out."""
    asked = {mount.device for mount in mounts_of() if mount.type == TYPE}
    seen = {_namespace("self")}
    give_up = time.monotonic() + _ANSWERED_WITHIN
    for process in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        namespace = _namespace(str(process))
        if namespace is None or namespace in seen:
            continue
        seen.add(namespace)
        with suppress(OSError):
            for mount in mounts_of(process):
                if mount.type != TYPE or mount.device in asked:
                    continue
                asked.add(mount.device)
                if _writes_to(Path(f"/proc/{process}/root{mount.point}"), upper, give_up):
                    return Held(process, mount.point)
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


def _writes_to(mount: Path, upper: Path, give_up: float) -> bool:
    """Asked in a thread of its own, which is left behind where the daemon does not answer."""
    answers: list[str] = []

    def ask() -> None:
        with suppress(NoStatisticsError):
            answers.append(read_facts(mount).upper)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(max(0.0, min(_EACH_WITHIN, give_up - time.monotonic())))
    return answers == [str(upper.resolve())]
