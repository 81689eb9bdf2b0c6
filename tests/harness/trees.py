"""Trees made from a description: a mapping of names to what they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

OLD_NS = 1_500_000_000_123_456_789  # the time of every entry made here, unless said otherwise


@dataclass(frozen=True)
class Entry:
    """One name: its type and permission bits, owner, content (of a file), target (of a link), xattrs and mtime."""

    mode: int
    content: bytes = b""
    target: bytes = b""
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    mtime_ns: int = OLD_NS
    hard_link: bool = False


Description = Mapping[str, Entry] | Mapping[bytes, Entry] | Mapping[str | bytes, Entry]


def file(content: bytes = b"", mode: int = 0o644, **rest: object) -> Entry:
    return _entry(mode=stat.S_IFREG | mode, content=content, **rest)


def directory(mode: int = 0o755, **rest: object) -> Entry:
    return _entry(mode=stat.S_IFDIR | mode, **rest)


def symlink(target: str | bytes, **rest: object) -> Entry:
    return _entry(mode=stat.S_IFLNK | 0o777, target=os.fsencode(target), **rest)


def link_to(name: str | bytes) -> Entry:
    """Another name of an entry described before this one."""
    return Entry(mode=0, target=os.fsencode(name), hard_link=True)


def fifo(mode: int = 0o644, **rest: object) -> Entry:
    return _entry(mode=stat.S_IFIFO | mode, **rest)


def socket_file(mode: int = 0o644, **rest: object) -> Entry:
    return _entry(mode=stat.S_IFSOCK | mode, **rest)


def character_device(major: int, minor: int, mode: int = 0o644, **rest: object) -> Entry:
    return _entry(mode=stat.S_IFCHR | mode, rdev=os.makedev(major, minor), **rest)


def block_device(major: int, minor: int, mode: int = 0o644, **rest: object) -> Entry:
    return _entry(mode=stat.S_IFBLK | mode, rdev=os.makedev(major, minor), **rest)


def whiteout() -> Entry:
    """A layer's mark that the name of the layers below is gone."""
    return character_device(0, 0, 0)


def _entry(**fields: object) -> Entry:
    return Entry(**fields)  # type: ignore[arg-type]


def make_tree(root: str | bytes, description: Description) -> None:
    """Make the described entries below `root`; directories above an entry need not be described."""
    top = os.fsencode(root)
    os.makedirs(top, exist_ok=True)
    made: list[tuple[bytes, Entry]] = []
    for name, entry in description.items():
        path = top + b"/" + os.fsencode(name) if name != "." else top
        _make_parents(top, os.path.dirname(path), made)
        if entry.hard_link:
            os.link(top + b"/" + entry.target, path, follow_symlinks=False)
        else:
            _make(path, entry)
            made.append((path, entry))
    for path, entry in reversed(made):
        os.utime(path, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)
    if "." not in description:
        os.utime(top, ns=(OLD_NS, OLD_NS))


def _make_parents(top: bytes, path: bytes, made: list[tuple[bytes, Entry]]) -> None:
    if path != top and not os.path.isdir(path):
        _make_parents(top, os.path.dirname(path), made)
        os.mkdir(path)
        made.append((path, directory()))


def _make(path: bytes, entry: Entry) -> None:
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFREG:
        with open(path, "xb") as made:
            made.write(entry.content)
    elif kind == stat.S_IFDIR:
        os.makedirs(path, exist_ok=True)
    elif kind == stat.S_IFLNK:
        os.symlink(entry.target, path)
    else:
        os.mknod(path, kind | 0o600, entry.rdev)
    if os.geteuid() == 0:
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
    if kind != stat.S_IFLNK:
        os.chmod(path, stat.S_IMODE(entry.mode))
    for name, value in entry.xattrs.items():
        os.setxattr(path, name, value, follow_symlinks=False)
