"""A layer and what lies below it become one new directory: `cowfs commit`.

The directory is built beside its place and moved there in one step, so that there is the old state or the new.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cowfs import linux
from cowfs.daemon.mount_table import mounts
from cowfs.layer import lock, metadata
from cowfs.layer.metadata import LayerError
from cowfs.layer.view import open_views
from cowfs.tools.copy_tree import TreeWriter
from cowfs.tools.publish import built_beside, move_into_place, require_free, tell_of_set_ids
from cowfs.union.layer import open_directory


def commit(layer: Path, target: Path) -> None:
    """Merge a layer over its base into a new directory `target`. LayerError."""
    require_free(target)
    with built_beside(target) as stage:
        set_ids = _write(layer, stage)
        move_into_place(stage, target)
    if set_ids:
        tell_of_set_ids(target)


def commit_in_place(layer: Path, base: Path) -> None:
    """Put the merged tree in the place of the base, which is removed. LayerError."""
    _require_only_base(layer, base)
    base = base.resolve()
    _require_unused(base)
    with built_beside(base) as stage:
        _write(layer, stage)
        try:
            # The base may be closed to others, though what it shows is not: its setuid programs are not for them.
            if stat.S_IMODE(base.stat().st_mode) & 0o077 == 0:
                (stage / "tree").chmod(0o700)
            linux.rename(
                linux.AT_FDCWD, os.fsencode(stage / "tree"), linux.AT_FDCWD, os.fsencode(base), linux.RENAME_EXCHANGE
            )
        except OSError as error:
            raise LayerError(f"Cannot replace {base}: {error.strerror}. It is as it was.") from error


def _write(layer: Path, stage: Path) -> bool:
    """Write the merged tree; whether it has programs with set-user-ID or set-group-ID bits."""
    with open_views(layer) as views:
        target_fd = open_directory(linux.AT_FDCWD, os.fsencode(stage / "tree"))
        writer = TreeWriter(views.merged, os.fsencode(stage / "links"))
        try:
            writer.write_tree(views.merged.root, target_fd)
            _to_disk(stage)
        finally:
            writer.close()
            os.close(target_fd)
    return writer.set_ids


def _to_disk(stage: Path) -> None:
    """What replaces something must not be lost in a power cut."""
    fd = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        linux.syncfs(fd)
    finally:
        os.close(fd)


def _require_unused(base: Path) -> None:
    """LayerError if it is mounted, in whatever namespace: a mount holds a lock on its bases."""
    try:
        os.close(lock.lock_layer(base, exclusive=True))
    except LayerError as error:
        using = [str(mount.mountpoint) for mount in mounts() if mount.facts and str(base) in mount.facts.bases]
        by = f"the mount on {', '.join(using)}" if using else "a mount that is not seen from here"
        raise LayerError(f"The base {base} is in use by {by}: unmount it first.") from error


def _require_only_base(layer: Path, base: Path) -> None:
    metadata.require_layer(layer)
    bases = [recorded.path for recorded in metadata.read_metadata(layer).bases]
    if len(bases) > 1:
        raise LayerError(f"{layer} lies over several directories: commit it to a new one, without --in-place.")
    if not base.is_dir() or not bases[0].is_dir() or not base.samefile(bases[0]):
        raise LayerError(f"{layer} was made over {bases[0]}, not over {base}: only its own base can be replaced.")
    if metadata.is_layer(base):
        raise LayerError(f"{base} is itself a layer: commit to a new directory, without --in-place.")
