"""What a person wants to know of a layer and of the mounts: `cowfs status` and `cowfs list`."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cowfs import layers
from cowfs.fuse.engine import read_statistics
from cowfs.layers import LayerError
from cowfs.mounts import Mounted, layer_of, mounts
from cowfs.report import readable


def describe(path: Path) -> str:
    """A layer, given by its directory or mount point, as lines of name and value. LayerError."""
    statistics: dict[str, Any] = read_statistics(path) if not layers.is_layer(path) and os.path.ismount(path) else {}
    directory = layer_of(path)[0].resolve()
    metadata = layers.read_metadata(directory)
    mounted = [mount for mount in mounts() if mount.facts and mount.facts["layer"] == str(directory)]
    size, entries = usage(directory / "upper")
    rows = [("layer", str(directory))]
    rows += [("base", _base_line(base)) for base in metadata["bases"]]
    rows.append(("state", _state(metadata["state"], directory)))
    rows += [("mounted on", str(mount.mountpoint)) for mount in mounted]
    rows += [
        ("daemon", f"process {mount.facts['process']}, engine {mount.facts['engine']}")
        for mount in mounted[:1]
        if mount.facts
    ]
    rows.append(("size", f"{readable(size)} in {entries} entries"))
    rows.append(("marks", f"{metadata['marks']}.overlay.*, whiteouts by {metadata['whiteouts']}"))
    if statistics:
        rows.append(("requests", str(sum(numbers["requests"] for numbers in statistics["opcodes"].values()))))
    return "\n".join(f"{name:<12}{value}" for name, value in rows)


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
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return "\n".join(f"{one:<{widths[0]}}  {two:<{widths[1]}}  {three}".rstrip() for one, two, three in rows)


def usage(directory: Path) -> tuple[int, int]:
    """The bytes on the disk and the number of entries below a directory; a hard link counts once."""
    blocks = entries = 0
    seen: set[int] = set()
    for _, _, files, fd in os.fwalk(directory, follow_symlinks=False):
        blocks += os.fstat(fd).st_blocks
        entries += 1
        for name in files:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            entries += 1
            if status.st_nlink == 1 or status.st_ino not in seen:
                seen.add(status.st_ino)
                blocks += status.st_blocks
    return blocks * 512, entries - 1


def _base_line(base: dict[str, str]) -> str:
    problem = layers.base_problem(base)
    return base["path"] + (f" ({problem})" if problem else "")


def _state(recorded: str, directory: Path) -> str:
    try:
        os.close(layers.lock(directory / "upper", exclusive=True, patience=0))
    except LayerError:
        return "in use"
    return "clean" if recorded == "clean" else "its last session was killed; the next mount repairs it"
