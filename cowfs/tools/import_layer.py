"""A layer from an OCI image's layer or an overlayfs upper directory: `cowfs import`.

An archive is unpacked through the union's own operations, as if in a mount: its names are looked up in the union, one
by one and without following a link, so that none can lead anywhere else.
"""

from __future__ import annotations

import lzma
import os
import stat
import sys
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO, cast

from cowfs.layer.directory import Upper, make_kept, remove_tree
from cowfs.layer.metadata import LayerError
from cowfs.layer.open_layer import OpenLayer
from cowfs.layer.view import names, node_at
from cowfs.tools.copy_tree import TreeWriter
from cowfs.tools.tar import OPAQUE, WHITEOUT, XATTR
from cowfs.union import dirs, files, xattrs
from cowfs.union.attrs import Caller, Changes, set_attributes
from cowfs.union.copying import copy_metadata
from cowfs.union.data import write
from cowfs.union.layer import Layer, empty_directory
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import SELF, Tree

_CHUNK = 1 << 20
_ZERO = bytes(4096)
_MODES = {
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


_PATH_LIMIT = 4096
"""PATH_MAX, limits.h."""
_HEADER_LIMIT = 4 << 20
"""Bytes of what stands before a member: long names, extended attributes (each 64 KiB at most)."""
_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)


class HostileMember(Exception):
    """A member of an archive that cannot be unpacked; the text says why."""


class _Member(tarfile.TarInfo):
    """Of a header, tarfile reads as much into memory as it claims to have."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0 or (member.type in _HEADERS and member.size > _HEADER_LIMIT):
            raise HostileMember(f"with a header of {member.size} bytes")
        return member


def import_layer(source: Path, layer: Path, bases: list[Path]) -> None:
    """Make a new layer over `bases` from an archive (`-` is the standard input) or a directory. LayerError."""
    if os.path.lexists(layer):
        raise LayerError(f"{layer} exists already: give a name that is free.")
    bases = [base.resolve() for base in bases]
    sys.setrecursionlimit(1_000_000)  # as for views: trees are as deep as they like
    with ExitStack() as failed:
        place = make_kept(layer.absolute())
        failed.callback(remove_tree, layer)
        umask = os.umask(0)
        failed.callback(os.umask, umask)
        with closing(OpenLayer(bases, lambda: place)) as opened:
            tree = opened.tree
            if source.is_dir():
                _copy_upper(tree, source, place)
            else:
                _unpack(tree, source)
        os.umask(umask)
        failed.pop_all()


def _copy_upper(tree: Tree, source: Path, place: Upper) -> None:
    """Both have the same format; whiteouts of either form are understood."""
    layer = Layer(os.fsencode(source), 0, attribute_whiteouts=True)
    writer = TreeWriter(tree, os.fsencode(place.work / "staging"))
    try:
        writer.write_layer(layer, layer.root_fd, tree.upper.root_fd, tree.marks)
        status = os.stat(SELF, dir_fd=layer.root_fd)
        copy_metadata(tree, (layer.root_fd, SELF), (tree.upper.root_fd, SELF), status)
    finally:
        writer.close()
        layer.close()
        empty_directory(tree.upper.staging_fd)


def _unpack(tree: Tree, source: Path) -> None:
    with ExitStack() as end:
        name = ""
        try:
            file: IO[bytes] = end.enter_context(open(0 if source == Path("-") else source, "rb"))
            unpacking = _Unpacking(tree)
            with tarfile.open(fileobj=file, mode="r|*", encoding="utf-8", tarinfo=_Member) as archive:
                for member in archive:
                    name = _short(member.name)
                    unpacking.add(archive, member)
            unpacking.finish()
        except HostileMember as problem:
            raise LayerError(f"{source} holds {name!r}, {problem}: nothing was imported.") from problem
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise LayerError(f"{source} is no tar archive that can be read: {error}.") from error
        except OSError as error:
            raise LayerError(f"Cannot import {name!r} from {source}: {error.strerror or error}.") from error
        except (ValueError, OverflowError) as error:  # a NUL in a name, a number that no system has
            raise LayerError(
                f"{source} holds {name!r}, which makes no sense ({error}): nothing was imported."
            ) from error


class _Unpacking:
    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._new: set[bytes] = set()
        """What the archive itself brought: its whiteouts do not mean that."""
        self._directories: list[tuple[Directory, tarfile.TarInfo]] = []

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = _parts(member.name)
        if not parts:
            if member.isdir():
                self._directories.append((self._tree.root, member))
            return
        parent = self._parent(parts)
        with self._held(parent):
            self._add(archive, member, parts, parent)
        self._tree.nodes.drop_unneeded(parent)

    @staticmethod
    @contextmanager
    def _held(directory: Directory) -> Iterator[None]:
        """Known to the tree also when what was below it goes, as if the kernel had looked it up."""
        directory.lookups += 1
        try:
            yield
        finally:
            directory.lookups -= 1

    def _add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parts: list[bytes], parent: Directory) -> None:
        name = parts[-1]
        if name == OPAQUE:
            self._remove_all_old(parts[:-1], parent)
        elif name.startswith(WHITEOUT):
            # Others of this form are aufs's own, of no meaning.
            if not name.startswith(WHITEOUT * 2):
                _check_name(name.removeprefix(WHITEOUT))
                self._remove_old([*parts[:-1], name.removeprefix(WHITEOUT)], parent)
        else:
            self._put(archive, member, parts, parent)
            self._new.update(b"/".join(parts[:depth]) for depth in range(1, len(parts) + 1))

    def finish(self) -> None:
        """Directories get what is theirs last, since their content changes it. What lies deeper comes first."""
        for directory, member in reversed(self._directories):
            if not directory.unlinked:
                _set_metadata(self._tree, directory, member)

    def _put(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parts: list[bytes], parent: Directory) -> None:
        tree, name = self._tree, parts[-1]
        there = node_at(tree, parent, name)
        if member.isdir():
            if not isinstance(there, Directory):
                self._remove(parent, name, there)
                there, _ = dirs.mkdir(tree, parent, name, 0o700, _daemon())
            assert isinstance(there, Directory)
            there.lookups += 1  # it is needed once more
            self._directories.append((there, member))
            return
        linked = self._linked(member) if member.islnk() else None
        if linked is not None and linked is there:
            return
        self._remove(parent, name, there)
        if linked is not None:
            files.link(tree, linked, parent, name)
            return
        node = self._make(archive, member, parent, name)
        _set_metadata(tree, node, member)
        tree.nodes.drop_unneeded(node)

    def _make(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parent: Directory, name: bytes) -> Node:
        tree = self._tree
        if member.issym():
            return files.symlink(tree, parent, name, _bytes(member.linkname), _daemon())[0]
        if member.type in _MODES:
            device = os.makedev(member.devmajor, member.devminor)
            return files.mknod(tree, parent, name, _MODES[member.type] | 0o600, device, _daemon())[0]
        content = archive.extractfile(member) if member.isfile() else None
        if content is None:
            raise HostileMember(f"which is of the unknown type {member.type!r}")
        node, _ = files.create(tree, parent, name, 0o600, _daemon())
        _fill(tree, node, content, _extents(member), member.size)
        return node

    def _linked(self, member: tarfile.TarInfo) -> Node:
        parts = _parts(member.linkname)
        parent = self._walk(parts[:-1], make=False)
        node = node_at(self._tree, parent, parts[-1]) if parts else None
        if node is None or isinstance(node, Directory):
            raise HostileMember(f"a hard link to {_short(member.linkname)!r}, no file in the layer or its base")
        return node

    def _parent(self, parts: list[bytes]) -> Directory:
        return self._walk(parts[:-1], make=True)

    def _walk(self, parts: list[bytes], *, make: bool) -> Directory:
        current = self._tree.root
        for part in parts:
            node = node_at(self._tree, current, part)
            if node is None and make:
                node, _ = dirs.mkdir(self._tree, current, part, 0o755, _daemon())
            if not isinstance(node, Directory):
                raise HostileMember(f"whose path leads through {_short(os.fsdecode(part))!r}, which is no directory")
            current = node
        return current

    def _remove_all_old(self, parts: list[bytes], directory: Directory) -> None:
        for name in names(self._tree, directory):
            self._remove_old([*parts, name], directory)

    def _remove_old(self, parts: list[bytes], parent: Directory) -> None:
        """Remove what does not come from this archive."""
        node = node_at(self._tree, parent, parts[-1])
        if b"/".join(parts) not in self._new:
            self._remove(parent, parts[-1], node)
        elif isinstance(node, Directory):
            with self._held(node):
                self._remove_all_old(parts, node)
            self._tree.nodes.drop_unneeded(node)

    def _remove(self, parent: Directory, name: bytes, node: Node | None) -> None:
        if isinstance(node, Directory):
            with self._held(node):
                for below in names(self._tree, node):
                    self._remove(node, below, node_at(self._tree, node, below))
            dirs.rmdir(self._tree, parent, name)
        elif node is not None:
            files.unlink(self._tree, parent, name)


def _parts(path: str) -> list[bytes]:
    """The names of a path. Nothing but names of this tree: HostileMember."""
    if path.startswith("/"):
        raise HostileMember("an absolute name")
    if len(path) > _PATH_LIMIT:
        raise HostileMember(f"whose path has more than {_PATH_LIMIT} characters")
    parts = [part for part in _bytes(path).split(b"/") if part not in (b"", b".")]
    for part in parts:
        _check_name(part)
    return parts


def _short(path: str) -> str:
    """As much of a path as belongs into a sentence."""
    return path if len(path) <= 200 else f"{path[:200]}..."


def _check_name(name: bytes) -> None:
    if name in (b"", b".", b"..") or b"/" in name:
        raise HostileMember("which leads out of the tree")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _daemon() -> Caller:
    return Caller(os.geteuid(), os.getegid(), 0)


def _extents(member: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Offset and size of what a member has; between them are holes, of which a few bytes can claim exabytes."""
    if not member.issparse():
        return [(0, member.size)]
    extents = sorted(cast(list[tuple[int, int]], member.sparse))
    end = 0
    for offset, size in extents:
        if offset < end or size < 0 or offset + size > member.size:
            raise HostileMember("whose parts do not fit together")
        end = offset + size
    return extents


def _fill(tree: Tree, node: Node, content: IO[bytes], extents: list[tuple[int, int]], size: int) -> None:
    """Write the content; what is zero becomes a hole."""
    set_attributes(tree, node, Changes(size=size))
    for first, length in extents:
        if first:
            content.seek(first)
        offset, end = first, first + length
        while offset < end and (data := content.read(min(_CHUNK, end - offset))):
            view = memoryview(data)
            for start in range(0, len(data), len(_ZERO)):
                piece = view[start : start + len(_ZERO)]
                if piece != _ZERO[: len(piece)]:
                    write(tree, node, offset + start, piece, None)
            offset += len(data)
        if offset < end:
            raise HostileMember("which ends before all of it was there")


def _set_metadata(tree: Tree, node: Node, member: tarfile.TarInfo) -> None:
    # In this order: chown clears setuid and capabilities, an ACL changes the mode.
    set_attributes(tree, node, Changes(uid=member.uid, gid=member.gid))
    wanted = {
        _bytes(key.removeprefix(XATTR)): _bytes(value)
        for key, value in member.pax_headers.items()
        if key.startswith(XATTR)
    }
    for name in xattrs.list_xattrs(tree, node):
        if name not in wanted:
            xattrs.remove_xattr(tree, node, name)
    for name, value in wanted.items():
        xattrs.set_xattr(tree, node, name, value, 0)
    if node.type != stat.S_IFLNK:
        set_attributes(tree, node, Changes(mode=stat.S_IMODE(member.mode)))
    modified = _time(member)
    set_attributes(tree, node, Changes(atime_ns=modified, mtime_ns=modified))


def _time(member: tarfile.TarInfo) -> int:
    """In ns; a pax record is exacter than the number that tarfile makes of it."""
    try:
        return int(Decimal(member.pax_headers.get("mtime", member.mtime)) * 1_000_000_000)
    except (ArithmeticError, ValueError):  # also what is out of Decimal's range
        raise HostileMember("whose time is no number") from None
