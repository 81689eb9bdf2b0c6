"""What a person wants to know of a layer and of the mounts: `cowfs status` and `cowfs list`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cowfs.daemon.mount_table import Mounted, layer_of, mounts
from cowfs.fuse.statistics import read_statistics
from cowfs.layer import lock
from cowfs.layer.metadata import LayerError, base_problem, is_layer, read_metadata
from cowfs.tools.diff_text import readable, shown
from cowfs.union.quota import usage


def describe(path: Path) -> str:
    """A layer, given by its directory or mount point, as lines of name and value. LayerError."""
    statistics: dict[str, Any] = read_statistics(path) if not is_layer(path) and os.path.ismount(path) else {}
    directory = layer_of(path)[0].resolve()
    metadata = read_metadata(directory)
    mounted = [mount for mount in mounts() if mount.facts and mount.facts["layer"] == str(directory)]
    size, entries = _usage(directory)
    rows = [("layer", str(directory))]
    rows += [("base", _base_line(base)) for base in metadata["bases"]]
    rows.append(("state", _state(metadata["state"], directory)))
    rows += [("mounted on", str(mount.mountpoint)) for mount in mounted]
    rows += [
        ("daemon", f"process {mount.facts['process']}, engine {_engine(mount.facts)}")
        for mount in mounted[:1]
        if mount.facts
    ]
    rows.append(("size", f"{readable(size)} in {entries} inodes"))
    rows.append(("marks", f"{metadata['marks']}.overlay.*, whiteouts by {metadata['whiteouts']}"))
    if statistics:
        rows.append(("requests", str(sum(numbers["requests"] for numbers in statistics["opcodes"].values()))))
    return "\n".join(f"{name:<12}{_line(value)}" for name, value in rows)


def table(found: Iterable[Mounted]) -> str:
    """A line for each mount: where, its layer, its bases."""
    rows = [("MOUNTPOINT", "LAYER", "BASES")]
    for mount in found:
        if mount.facts is None:
            rows.append((str(mount.mountpoint), f"({mount.reason})", ""))
            continue
        layer = mount.facts["layer"] or mount.facts["upper"]
        rows.append(
            (
                str(mount.mountpoint),
                layer + (" (temporary)" if mount.facts["temporary"] else ""),
                ":".join(mount.facts["bases"]),
            )
        )
    rows = [(_line(one), _line(two), _line(three)) for one, two, three in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{one:<{widths[0]}}  {two:<{widths[1]}}  {three}".rstrip() for one, two, three in rows)


def _line(text: str) -> str:
    return shown(os.fsencode(text))


def _engine(facts: dict[str, Any]) -> str:
    return f"{facts['engine']} over io_uring" if facts.get("io_uring") else str(facts["engine"])


def _usage(directory: Path) -> tuple[int, int]:
    fds = [os.open(directory / part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW) for part in ("upper", "work")]
    try:
        return usage(fds)
    finally:
        for fd in fds:
            os.close(fd)


def _base_line(base: dict[str, str]) -> str:
    problem = base_problem(base)
    return base["path"] + (f" ({problem})" if problem else "")


def _state(recorded: str, directory: Path) -> str:
    try:
        os.close(lock.lock_layer(directory / "upper", exclusive=True, patience=0))
    except LayerError:
        return "in use"
    return "clean" if recorded == "clean" else "its last session was killed; the next mount repairs it"
