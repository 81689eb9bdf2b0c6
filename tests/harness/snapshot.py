"""A whole tree as comparable values, and the difference of two such trees in words."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from typing import NamedTuple

Snapshot = dict[bytes, "Node"]

_PAGE = 4096
_PATH_MAX = 4096
_LARGE = 64 << 20  # bytes; from here on holes are not read

_ENTRY_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


class Node(NamedTuple):
    """One name of a tree. `links` are all names of the same file within the tree."""

    kind: str
    mode: int
    uid: int
    gid: int
    rdev: int
    nlink: int
    size: int
    mtime: str
    xattrs: tuple[tuple[str, bytes], ...]
    content: str
    links: tuple[bytes, ...]
    identity: str


def snapshot(root: str | bytes, *, now: int | None = None, exact: bool = False) -> Snapshot:
    """Describe everything below (and including, as b".") `root`.

    Times at or after `now` (ns since the epoch) read as "now", so that two trees changed one after the other compare
    equal. `exact` adds what only an untouched tree keeps: atime, ctime, inode numbers and a directory's size and nlink.
    """
    top = os.fsencode(root)
    names: dict[tuple[int, int], list[bytes]] = {}
    found: list[tuple[bytes, bytes, os.stat_result]] = []
    for relative, path in _walk(top):
        status = os.lstat(path)
        found.append((relative, path, status))
        if not stat.S_ISDIR(status.st_mode):
            names.setdefault((status.st_dev, status.st_ino), []).append(relative)
    shared = {key: tuple(sorted(of_one_file)) for key, of_one_file in names.items()}
    contents: dict[tuple[int, int], str] = {}
    result: Snapshot = {}
    for relative, path, status in found:
        key = status.st_dev, status.st_ino
        if key not in contents:
            contents[key] = _content(path, status)
        is_directory = stat.S_ISDIR(status.st_mode)
        recent = now is not None and status.st_mtime_ns >= now
        result[relative] = Node(
            kind=_ENTRY_TYPES[stat.S_IFMT(status.st_mode)],
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            rdev=status.st_rdev,
            nlink=0 if is_directory and not exact else status.st_nlink,
            size=0 if is_directory and not exact else status.st_size,
            mtime="now" if recent else str(status.st_mtime_ns),
            xattrs=tuple(sorted(_xattrs(path))),
            content=contents[key],
            links=() if is_directory else shared[key],
            identity=_identity(status) if exact else "",
        )
    return result


def differences(left: Snapshot, right: Snapshot, limit: int = 20) -> list[str]:
    """What differs, a line for each name and field: `name: field: left -> right`."""
    lines: list[str] = []
    for name in sorted(left.keys() | right.keys()):
        shown = os.fsdecode(name)
        if name not in right:
            lines.append(f"{shown}: only on the left ({left[name].kind})")
        elif name not in left:
            lines.append(f"{shown}: only on the right ({right[name].kind})")
        else:
            pairs = zip(Node._fields, left[name], right[name], strict=True)
            lines += [f"{shown}: {field}: {one!r} -> {other!r}" for field, one, other in pairs if one != other]
    if len(lines) > limit:
        lines[limit:] = [f"and {len(lines) - limit} more"]
    return lines


def without(tree: Mapping[bytes, Node], *fields: str) -> Snapshot:
    """The same tree with the named fields blanked."""
    blank = Node("", 0, 0, 0, 0, 0, 0, "", (), "", (), "")
    kept = {field: getattr(blank, field) for field in fields}
    return {name: node._replace(**kept) for name, node in tree.items()}


def _walk(top: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(relative name, path), parents first.

    A directory that may not be listed, or lies so deep that no path can name it, is described without its content.
    """
    yield b".", top
    pending = [(b"", top)]
    while pending:
        prefix, directory = pending.pop()
        try:
            entries = sorted(os.listdir(directory))
        except PermissionError:
            continue
        if len(directory) + 257 > _PATH_MAX:
            continue
        for name in entries:
            relative, path = prefix + name, directory + b"/" + name
            yield relative, path
            if stat.S_ISDIR(os.lstat(path).st_mode):
                pending.append((relative + b"/", path))


def _identity(status: os.stat_result) -> str:
    accessed = status.st_atime_ns if stat.S_ISREG(status.st_mode) else "-"
    return f"inode {status.st_ino} ctime {status.st_ctime_ns} atime {accessed}"


def _xattrs(path: bytes) -> Iterator[tuple[str, bytes]]:
    for name in os.listxattr(path, follow_symlinks=False):
        yield name, os.getxattr(path, name, follow_symlinks=False)


def _content(path: bytes, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return repr(os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return ""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOATIME)
    except PermissionError:
        return "unreadable"
    try:
        if status.st_size > _LARGE:
            return _large_digest(descriptor, status.st_size)
        with open(descriptor, "rb", closefd=False) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    finally:
        os.close(descriptor)


def _large_digest(descriptor: int, size: int) -> str:
    """A digest of the pages that are not all zero and where they lie: holes cost nothing."""
    digest = hashlib.sha256()
    zeros = bytes(_PAGE)
    position = 0
    while position < size:
        try:
            position = os.lseek(descriptor, position, os.SEEK_DATA) // _PAGE * _PAGE
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        end = os.lseek(descriptor, position, os.SEEK_HOLE)
        while position < end:
            page = os.pread(descriptor, _PAGE, position)
            if page != zeros[: len(page)]:
                digest.update(b"%d:" % position + page)
            position += _PAGE
    return digest.hexdigest()
