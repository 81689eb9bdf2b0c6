"""The hard-link index on disk: what keeps a base file with several names one file after it was copied up.

The copied-up file lies in `work/links` under the identity of its base file; every name of the base file leads there,
whether or not that name was ever looked up. Beside it, "IDENTITY.below" is a symbolic link whose target is the number
of names that still show from below; the names in the upper layer are counted by the file's own link count.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.nodes import LowerDirectory
from cowfs.union.whiteout import format_identity, parse_identity

Identity = tuple[int, int]

_BELOW = b".below"


class LinkIndex:
    def __init__(self, upper: WritableLayer, layers: Iterable[Layer]) -> None:
        """`layers` are the read-only ones, topmost first."""
        self._upper = upper
        self._names = set(_names(upper.links_fd))
        self._lower = [
            (LowerDirectory(layer, None, b"", layer.links_fd), frozenset(_names(layer.links_fd)))
            for layer in layers
            if layer.links_fd is not None
        ]

    def in_upper(self, identity: Identity) -> tuple[int, bytes] | None:
        """Where the copied-up file lies, as a fixed `(dir_fd, name)`."""
        key = format_identity(identity)
        return (self._upper.links_fd, key) if key in self._names else None

    def in_lower(self, identity: Identity, position: int) -> tuple[LowerDirectory, bytes] | None:
        """Where a layer above `position` keeps its copied-up version, the topmost one first."""
        key = format_identity(identity)
        for directory, names in self._lower:
            if directory.layer.position <= position:
                break
            if key in names:
                return directory, key
        return None

    def incomplete(self) -> list[Identity]:
        """The copied-up files that have names which still show from below."""
        return [identity for identity in self._identities() if self.names_below(identity)]

    def counted(self) -> list[Identity]:
        """The files of which a name was taken away or copied up."""
        identities = [parse_identity(name.removesuffix(_BELOW)) for name in self._names if name.endswith(_BELOW)]
        return [identity for identity in identities if identity is not None]

    def drop_complete(self) -> None:
        """Forget the files none of whose names show from below; no node may lead to them here any more."""
        for identity in self._identities():
            if self.names_below(identity) == 0:
                key = format_identity(identity)
                for name in (key, key + _BELOW):
                    os.unlink(name, dir_fd=self._upper.links_fd)
                    self._names.discard(name)

    def _identities(self) -> list[Identity]:
        identities = [parse_identity(key) for key in self._names if not key.endswith(_BELOW)]
        return [identity for identity in identities if identity is not None]

    def names_below(self, identity: Identity) -> int | None:
        """How many names still show from below this upper layer; None if none was taken away yet."""
        key = format_identity(identity) + _BELOW
        return _read_count(self._upper.links_fd, key) if key in self._names else None

    def lower_link_count(self, identity: Identity, position: int, base_link_count: int) -> int:
        """How many names a file has in the view without the upper layer.

        `base_link_count` is the st_nlink of the file itself, in the layer at `position`.
        """
        key = format_identity(identity)
        count = base_link_count
        for directory, names in reversed(self._lower):
            if directory.layer.position <= position:
                continue
            if key + _BELOW in names:
                count = _read_count(directory.fd, key + _BELOW)
            if key in names:
                count += os.stat(key, dir_fd=directory.fd, follow_symlinks=False).st_nlink - 1
        return count

    def set_names_below(self, identity: Identity, count: int) -> None:
        key = format_identity(identity) + _BELOW
        staged = self._upper.staging_name()
        os.symlink(b"%d" % count, staged, dir_fd=self._upper.staging_fd)
        os.rename(staged, key, src_dir_fd=self._upper.staging_fd, dst_dir_fd=self._upper.links_fd)
        self._names.add(key)

    def add(self, identity: Identity, staged: bytes) -> tuple[int, bytes]:
        """Move a finished copy from the staging directory into the index; return where it is."""
        key = format_identity(identity)
        os.rename(staged, key, src_dir_fd=self._upper.staging_fd, dst_dir_fd=self._upper.links_fd)
        self._names.add(key)
        return self._upper.links_fd, key

    def remove(self, identity: Identity, orphan: bytes | None) -> None:
        """Forget a file whose last name is gone; its content goes to the orphans under `orphan`, or away."""
        key = format_identity(identity)
        links_fd = self._upper.links_fd
        if key in self._names:
            if orphan is None:
                os.unlink(key, dir_fd=links_fd)
            else:
                os.rename(key, orphan, src_dir_fd=links_fd, dst_dir_fd=self._upper.orphans_fd)
        self._names.discard(key)


def _names(fd: int) -> list[bytes]:
    with os.scandir(b"/proc/self/fd/%d" % fd) as entries:
        return [entry.name for entry in entries if _is_possible(entry)]


def _is_possible(entry: os.DirEntry[bytes]) -> bool:
    """Whether this can be a part of the index: a layer may hold anything."""
    if entry.name.endswith(_BELOW):
        return entry.is_symlink()
    return parse_identity(entry.name) is not None and not entry.is_dir(follow_symlinks=False)


def _read_count(fd: int, key: bytes) -> int:
    target = os.readlink(key, dir_fd=fd)
    # More digits than any file has names: somebody forged it, and the kernel would not take it.
    return int(target) if target.isdigit() and len(target) < 10 else 0
