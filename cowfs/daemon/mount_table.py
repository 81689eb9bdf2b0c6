"""The mounts of cowfs on this machine, and what each says of itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from cowfs.daemon.elsewhere import TYPE
from cowfs.fuse.statistics import MountFacts, NoStatisticsError, read_facts
from cowfs.layer.metadata import LayerError, is_layer
from cowfs.mountinfo import mounts_of


class Mounted(NamedTuple):
    mountpoint: Path
    facts: MountFacts | None
    """What the daemon says of itself; None if it does not answer this user."""
    reason: str = ""
    """Why it does not."""


def mounts() -> list[Mounted]:
    """Every cowfs that this process can see, proc_pid_mountinfo(5)."""
    return [_ask(Path(mount.point)) for mount in mounts_of() if mount.type == TYPE]


def layer_of(path: Path) -> tuple[Path, bool]:
    """The layer directory that a layer or a mount point stands for, and whether it is mounted there. LayerError."""
    if is_layer(path):
        return path, False
    if not os.path.ismount(path):
        raise LayerError(f"{path} is neither a layer (it has no layer.json) nor the mount point of a cowfs.")
    layer = read_facts(path).layer
    if layer is None:
        raise LayerError(f"{path} was mounted with upperdir=, which keeps no layer.json: nothing is known of its base.")
    return Path(layer), True


def _ask(mountpoint: Path) -> Mounted:
    try:
        return Mounted(mountpoint, read_facts(mountpoint))
    except NoStatisticsError as error:
        return Mounted(mountpoint, None, os.strerror(error.errno or 0))
