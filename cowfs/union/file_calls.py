"""stat(2), chown, chmod and utimes of one file, by what is at hand of it: a descriptor, or the place where it lies.

By a descriptor each is half as dear, and most files that are changed were just made, or written to: `Tree.at`.
"""

from __future__ import annotations

import os

from cowfs import linux

Place = tuple[int, bytes]
"""A directory descriptor, and a name in it that is not followed."""
At = int | Place


def status_of(at: At) -> os.stat_result:
    if isinstance(at, int):
        return os.fstat(at)
    dir_fd, name = at
    return os.stat(name, dir_fd=dir_fd, follow_symlinks=False)


def change_owner(at: At, uid: int, gid: int) -> None:
    """-1 leaves the one or the other, chown(2)."""
    if isinstance(at, int):
        os.fchown(at, uid, gid)
    else:
        dir_fd, name = at
        os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)


def change_mode(at: At, mode: int) -> None:
    """`mode` without the file's type."""
    if isinstance(at, int):
        os.fchmod(at, mode)
    else:
        linux.chmod(*at, mode)


def set_times(at: At, access_ns: int | linux.Moment | None, modify_ns: int | linux.Moment | None) -> None:
    """In ns since the epoch, or NOW; None leaves the time."""
    if isinstance(at, int):
        linux.set_times(at, None, access_ns, modify_ns)
    else:
        linux.set_times(*at, access_ns, modify_ns)
