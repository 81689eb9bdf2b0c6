"""A layer for other programs: `cowfs export`. What is written appears under its name when it is complete."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cowfs import linux
from cowfs.layer.metadata import LayerError
from cowfs.layer.view import Views, open_views
from cowfs.tools import tar
from cowfs.tools.copy_tree import TreeWriter
from cowfs.tools.publish import built_beside, move_into_place, require_free, tell_of_set_ids
from cowfs.tools.tar import Member
from cowfs.union.copying import copy_metadata
from cowfs.union.layer import open_directory
from cowfs.union.tree import SELF
from cowfs.union.whiteout import Marks


def export_tree(layer: Path, output: Path | None) -> list[bytes]:
    """The whole tree that the layer shows, as a tar archive; the sockets that were left out. LayerError."""
    return _export(layer, output, lambda views: tar.whole_tree(views.merged))


def export_oci(layer: Path, output: Path | None) -> list[bytes]:
    """The layer's changes as a layer of an OCI image; the sockets that were left out. LayerError."""
    return _export(layer, output, tar.oci_members)


def export_overlay(layer: Path, output: Path | None) -> list[bytes]:
    """The layer's changes as a directory for kernel overlayfs. LayerError."""
    if output is None:
        raise LayerError("The format overlay is a directory: say with --output where to make it.")
    require_free(output)
    with open_views(layer) as views, built_beside(output) as stage:
        # What root exports, the kernel shall read without an option, also if a plain user made it.
        marks = Marks(b"trusted") if os.geteuid() == 0 else views.merged.marks
        writer = TreeWriter(views.merged, os.fsencode(stage / "links"))
        target_fd = open_directory(linux.AT_FDCWD, os.fsencode(stage / "tree"))
        try:
            source = views.merged.layers[0]
            writer.write_layer(source, source.root_fd, target_fd, marks)
            root = views.merged.root
            copy_metadata(views.merged, views.merged.locate(root), (target_fd, SELF), views.merged.status(root))
        finally:
            writer.close()
            os.close(target_fd)
        move_into_place(stage, output)
    if writer.set_ids:
        tell_of_set_ids(output)
    return []


FORMATS: dict[str, Callable[[Path, Path | None], list[bytes]]] = {
    "tar": export_tree,
    "oci": export_oci,
    "overlay": export_overlay,
}


def _export(layer: Path, output: Path | None, members: Callable[[Views], Iterator[Member]]) -> list[bytes]:
    with open_views(layer) as views, _opened(output) as file:
        return tar.write(views.merged, members(views), file)


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        if sys.stdout.isatty():
            raise LayerError("An archive is nothing for a terminal: redirect it, or name a file with --output.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        fd, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.absolute().parent)
    except OSError as error:
        raise LayerError(f"Cannot write {output}: {error.strerror}.") from error
    try:
        with open(fd, "wb") as file:
            yield file
        os.replace(name, output)
    except BaseException:
        os.unlink(name)
        raise
