"""How much a session may write. It costs no system call where there is room.

What may be used is added up as it is asked for, an upper bound: a write again and again, or a file
that is gone since. Only when that sum reaches the limit the layer is measured, and the sum begins anew from there. So
space that came free counts again, sparse files count what they occupy, and hard links once. Taking a name away is
always allowed, though it may leave a whiteout. While large files are being copied up, measuring sees only what is
copied already: that much the limit may be exceeded.

The error is ENOSPC, not EDQUOT: programs know what to say of it, and df agrees with them.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from cowfs.union.layer import open_directory

_BLOCK = 4096


class Quota:
    def __init__(self, roots: list[int], size: int | None, inodes: int | None) -> None:
        """`roots`: descriptors of the directories that count, on one file system. None: without that limit."""
        self._roots = roots
        self.size = size
        self.inodes = inodes
        self._charged: dict[int, tuple[int, int]] = {}
        """By node number, the last range of its content that was counted."""
        self._used_size = self._used_inodes = 0
        self._exact = False
        """Whether that was measured, and nothing happened since."""
        self._measure()

    def take(self, size: int, inodes: int) -> None:
        """Count what is about to be used. OSError ENOSPC if the limit does not allow it."""
        if not self._fits(size, inodes):
            if self._exact:
                raise _full()
            self._measure()
            if not self._fits(size, inodes):
                raise _full()
        self._used_size += size
        self._used_inodes += inodes
        self._exact = False

    def take_range(self, number: int, fd: int, offset: int, length: int) -> None:
        """Count a part of a file's content that is about to be written. OSError ENOSPC."""
        start, end = offset - offset % _BLOCK, -(-(offset + length) // _BLOCK) * _BLOCK
        known_start, known_end = self._charged.get(number, (0, 0))
        if known_start <= start <= known_end:
            grown = max(0, end - known_end)
            start, end = known_start, max(end, known_end)
        else:
            grown = end - start
        if grown:
            try:
                self.take(grown, 0)
            except OSError:
                # What overwrites needs no more room.
                self.take(_holes(fd, offset - offset % _BLOCK, offset + length), 0)
                return
        self._charged[number] = (start, end)

    def note_freed(self, number: int = 0) -> None:
        """Something may have come free: of this node, or names of others."""
        self._exact = False
        self.forget(number)

    def forget(self, number: int) -> None:
        """Nothing is known of this node any more: its number may be given to another."""
        self._charged.pop(number, None)

    def used(self) -> tuple[int, int]:
        """Bytes and inodes."""
        if not self._exact:
            self._measure()
        return self._used_size, self._used_inodes

    def _fits(self, size: int, inodes: int) -> bool:
        if size and self.size is not None and self._used_size + size > self.size:
            return False
        return not (inodes and self.inodes is not None and self._used_inodes + inodes > self.inodes)

    def _measure(self) -> None:
        self._used_size, self._used_inodes = usage(self._roots)
        self._exact = True


def usage(roots: list[int]) -> tuple[int, int]:
    """The bytes that the content of these directories occupies, and its inodes; a hard link counts once."""
    blocks = inodes = 0
    seen: set[int] = set()
    for root in roots:
        stack = [(os.dup(root), [b"."])]
        while stack:
            fd, names = stack[-1]
            if not names:
                os.close(fd)
                stack.pop()
                continue
            below = -1
            with suppress(OSError):  # gone meanwhile, or not to be listed by a plain user
                below = open_directory(fd, names.pop())
                directories = []
                with os.scandir(b"/proc/self/fd/%d" % below) as entries:
                    for entry in entries:
                        status = entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            directories.append(entry.name)
                        elif status.st_nlink > 1:
                            if status.st_ino in seen:
                                continue
                            seen.add(status.st_ino)
                        blocks += status.st_blocks
                        inodes += 1
                stack.append((below, directories))
                below = -1
            if below >= 0:
                os.close(below)
    return blocks * 512, inodes


def _holes(fd: int, start: int, end: int) -> int:
    """How many bytes of a range are not there yet."""
    missing = 0
    while start < end:
        try:
            data = min(end, os.lseek(fd, start, os.SEEK_DATA))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            data = end
        missing += data - start
        start = os.lseek(fd, data, os.SEEK_HOLE) if data < end else end
    return missing


def _full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
