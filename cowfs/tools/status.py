"""What a person wants to know of a layer and of the mounts: `cowfs status` and `cowfs list`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cowfs.daemon.mount_table import Mounted, layer_of, mounts
from cowfs.fuse.statistics import read_statistics
from cowfs.layer import lock
from cowfs.layer.metadata import BaseIdentity, LayerError, State, base_problem, is_layer, read_metadata
from cowfs.tools.diff_text import readable, shown
from cowfs.union.quota import usage


def describe(path: Path) -> str:
    """A layer, given by its directory or mount point, as lines of name and value. LayerError."""
    statistics = read_statistics(path) if not is_layer(path) and os.path.ismount(path) else None
    directory = layer_of(path)[0].resolve()
    info = read_metadata(directory)
    mounted = [mount for mount in mounts() if mount.facts and mount.facts.layer == str(directory)]
    size, entries = _usage(directory)
    rows = [("layer", _shown(directory))]
    rows += [("base", _base_line(base)) for base in info.bases]
    rows.append(("state", _state(info.state, directory)))
    rows += [("mounted on", _shown(mount.mountpoint)) for mount in mounted]
    rows += [
        ("daemon", f"process {mount.facts.process}, engine {mount.facts.engine_words}")
        for mount in mounted[:1]
        if mount.facts
    ]
    rows.append(("size", f"{readable(size)} in {entries} inodes"))
    rows.append(("marks", f"{info.marks}.overlay.*, whiteouts by {info.whiteouts}"))
    if statistics is not None:
        rows.append(("requests", str(statistics.requests)))
    return "\n".join(f"{name:<12}{value}" for name, value in rows)


def table(found: Iterable[Mounted]) -> str:
    """A line for each mount: where, its layer, its bases."""
    rows = [("MOUNTPOINT", "LAYER", "BASES")]
    for mount in found:
        if mount.facts is None:
            rows.append((_shown(mount.mountpoint), f"({mount.reason})", ""))
            continue
        layer = mount.facts.layer or mount.facts.upper
        rows.append(
            (
                _shown(mount.mountpoint),
                _shown(layer) + (" (temporary)" if mount.facts.temporary else ""),
                ":".join(_shown(base).replace(":", r"\072") for base in mount.facts.bases),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{one:<{widths[0]}}  {two:<{widths[1]}}  {three}".rstrip() for one, two, three in rows)


def _shown(path: Path | str) -> str:
    return shown(os.fsencode(path))


def _usage(directory: Path) -> tuple[int, int]:
    fds = [os.open(directory / part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW) for part in ("upper", "work")]
    try:
        return usage(fds)
    finally:
        for fd in fds:
            os.close(fd)


def _base_line(base: BaseIdentity) -> str:
    problem = base_problem(base)
    return _shown(base.path) + (f" ({problem})" if problem else "")


def _state(recorded: State, directory: Path) -> str:
    try:
        os.close(lock.lock_layer(directory / "upper", exclusive=True, patience=0))
    except LayerError:
        return "in use"
    return "clean" if recorded is State.CLEAN else "its last session was killed; the next mount repairs it"
