"""Tar archives of what the union shows: the whole tree, or a layer's changes as OCI images have them.

Pax format, sorted by name, with numbers for owners and no time but mtime: the same tree gives the same bytes.
Extended attributes, ACLs and capabilities among them, are SCHILY.xattr records, as GNU tar and OCI tools write them.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from cowfs.layer.view import Views, names, node_at, own_part
from cowfs.union.files import readlink
from cowfs.union.hard_links import link_count
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree
from cowfs.union.xattrs import get_xattr, list_xattrs

XATTR = "SCHILY.xattr."
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}


class Member(NamedTuple):
    path: bytes
    node: Node | None
    """None: an empty file whose name is all that matters."""


def whole_tree(tree: Tree) -> Iterator[Member]:
    """Everything that shows."""
    yield Member(b".", tree.root)
    yield from _everything(tree, tree.root, b"")


def oci_members(views: Views) -> Iterator[Member]:
    """What an OCI layer holds: what is new or different with its directories, and a mark for what is gone.

    It knows no renamed directory: that is gone in one place and new, with all it holds, in the other.
    """
    yield Member(b".", views.merged.root)
    yield from _changes(views, views.merged.root, views.below.root, b"")


def write(tree: Tree, members: Iterable[Member], output: BinaryIO) -> list[bytes]:
    """Write an archive; the paths of sockets, which no archive can hold."""
    left_out: list[bytes] = []
    first_names: dict[int, str] = {}
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as archive:
        for path, node in members:
            if node is None:
                archive.addfile(tarfile.TarInfo(text(path)))
            elif node.type == stat.S_IFSOCK:
                left_out.append(path)
            else:
                _write_member(tree, archive, path, node, first_names)
                if not isinstance(node, Directory):
                    tree.nodes.drop_unneeded(node)
    return left_out


def _everything(tree: Tree, directory: Directory, path: bytes) -> Iterator[Member]:
    for name in names(tree, directory):
        node = node_at(tree, directory, name)
        if node is not None:
            yield Member(path + name, node)
        if isinstance(node, Directory):
            yield from _everything(tree, node, path + name + b"/")


def _changes(views: Views, directory: Directory, below: Directory, path: bytes) -> Iterator[Member]:
    """The changes in a directory that is the same below."""
    fd = own_part(views, directory)
    if fd is None:
        return
    for name in sorted(os.listdir(b"/proc/self/fd/%d" % fd)):
        after, before = node_at(views.merged, directory, name), node_at(views.below, below, name)
        if after is None:
            if before is not None:
                yield Member(path + WHITEOUT + name, None)
            continue
        if name.startswith(WHITEOUT):
            raise OSError(errno.EINVAL, f"OCI layers give names with {text(WHITEOUT)} a meaning", name)
        yield Member(path + name, after)
        if not isinstance(after, Directory):
            continue
        inside = path + name + b"/"
        if isinstance(before, Directory) and before.number == after.number:
            yield from _changes(views, after, before, inside)
        else:
            if isinstance(before, Directory):
                yield Member(inside + OPAQUE, None)
            yield from _everything(views.merged, after, inside)


def _write_member(tree: Tree, archive: tarfile.TarFile, path: bytes, node: Node, first_names: dict[int, str]) -> None:
    status = tree.status(node)
    member = tarfile.TarInfo(text(path))
    first = first_names.get(node.number)
    if first is not None and not isinstance(node, Directory):
        member.type, member.linkname = tarfile.LNKTYPE, first
        archive.addfile(member)
        return
    if not isinstance(node, Directory) and link_count(tree, node, status) > 1:
        first_names[node.number] = member.name
    member.type = _TYPES[node.type]
    member.mode = stat.S_IMODE(status.st_mode)
    member.uid, member.gid = status.st_uid, status.st_gid
    member.mtime = status.st_mtime_ns // 1_000_000_000
    member.pax_headers = _records(tree, node, status)
    if node.type == stat.S_IFLNK:
        member.linkname = text(readlink(tree, node))
    elif node.type in (stat.S_IFCHR, stat.S_IFBLK):
        member.devmajor, member.devminor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if node.type != stat.S_IFREG:
        archive.addfile(member)
        return
    member.size = status.st_size
    with open(tree.open_lower(node), "rb") as content:
        archive.addfile(member, content)


def _records(tree: Tree, node: Node, status: os.stat_result) -> dict[str, str]:
    """What the old header has no field for."""
    records = {}
    seconds, nanoseconds = divmod(status.st_mtime_ns, 1_000_000_000)
    if nanoseconds:
        records["mtime"] = f"{seconds}.{nanoseconds:09}".rstrip("0") if seconds >= 0 else _negative(status.st_mtime_ns)
    for name in sorted(list_xattrs(tree, node)):
        if b"=" in name or not _is_utf8(name):
            raise OSError(errno.EILSEQ, f"no archive can hold the extended attribute {text(name)!r}", node.name)
        records[XATTR + text(name)] = text(get_xattr(tree, node, name))
    return records


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def text(data: bytes) -> str:
    """Bytes as tarfile wants them, whatever the locale: it writes what is no UTF-8 as it is."""
    return data.decode("utf-8", "surrogateescape")


def _negative(nanoseconds: int) -> str:
    seconds, rest = divmod(-nanoseconds, 1_000_000_000)
    return f"-{seconds}.{rest:09}"
