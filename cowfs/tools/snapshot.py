"""Freezing the layer of a running mount: `cowfs snapshot`."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from cowfs.daemon.control import ask
from cowfs.fuse.statistics import read_facts
from cowfs.layer.metadata import LayerError


def take(mountpoint: Path, directory: Path | None) -> Path:
    """Move what was written so far to `directory`, by default beside the layer; return where it is. LayerError."""
    facts = read_facts(mountpoint)
    if facts.layer is None:
        raise LayerError(f"{mountpoint} was mounted with upperdir=: only a mount with a layer can be frozen.")
    layer = Path(facts.layer)
    if directory is None and facts.temporary:
        raise LayerError(f"The layer of {mountpoint} is temporary: say where the frozen one shall be kept.")
    directory = _free_name(layer) if directory is None else directory.absolute()
    ask(layer, {"snapshot": str(directory)})
    return directory


def _free_name(layer: Path) -> Path:
    names = (layer.with_name(f"{layer.name}.{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))
