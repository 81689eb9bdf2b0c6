"""Random sessions: whatever a program may do to a tree, in an order that a number decides."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable

from tests.harness import actions, syscalls
from tests.harness.trees import Description, directory, fifo, file, link_to, symlink

BASE: Description = {
    "a": file(b"a in the base" * 400, mode=0o4755),
    "b/a": file(b"b/a in the base"),
    "b/b": link_to("b/a"),
    "b/c/a": file(b"b/c/a"),
    "b/c/d/a": file(b"deep"),
    "b/c/d/e/f": file(b"deeper", uid=1234),
    "c": directory(0o2755),
    "c/b": link_to("b/a"),
    "c/c/a": file(b"c/c/a", xattrs={"user.a": b"base"}),
    "d": fifo(),
    "e/a": directory(),
    "e/b": file(b"e/b" * 5000),
    "l": symlink("b"),
    "m": symlink("b/a"),
}
_NAMES = "abcdelm"


class Session:
    """Does random things below `root`. Those that make no sense there fail, as they do in a program."""

    def __init__(self, root: bytes, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)

    def run(self, steps: int) -> None:
        operations: list[Callable[[], object]] = [
            *([self._replace] * 2),
            *([self._append] * 2),
            *([self._unlink] * 3),
            *([self._rename] * 5),
            *([self._mkdir] * 2),
            self._rmdir,
            self._link,
            self._symlink,
            self._chmod,
            self._chown,
            self._touch,
            self._mknod,
            self._set_attribute,
            self._exchange,
            self._remove_all,
            self._sparse,
        ]
        for _ in range(steps):
            try:
                self._random.choice(operations)()
            except OSError:
                continue

    def _path(self) -> bytes:
        """Mostly one that exists."""
        found = [self._root]
        for where, directories, files in os.walk(self._root):
            found += [os.path.join(where, name) for name in sorted([*directories, *files])]
        chosen = self._random.choice(sorted(found))
        return chosen if self._random.random() < 0.6 else self._fresh(chosen)

    def _fresh(self, near: bytes) -> bytes:
        above = near if os.path.isdir(near) and not os.path.islink(near) else os.path.dirname(near)
        return above + b"/" + self._random.choice(_NAMES).encode()

    def _bytes(self) -> bytes:
        return self._random.choice(b"wxyz").to_bytes() * self._random.choice((0, 1, 12, 4096, 80_000))

    def _replace(self) -> None:
        self._write(os.O_CREAT | os.O_TRUNC)

    def _append(self) -> None:
        self._write(os.O_APPEND)

    def _write(self, flags: int) -> None:
        # O_NONBLOCK: there are FIFOs, which nobody reads.
        with actions.opened(self._path(), os.O_WRONLY | os.O_NONBLOCK | flags) as descriptor:
            os.write(descriptor, self._bytes())

    def _unlink(self) -> None:
        os.unlink(self._path())

    def _rename(self) -> None:
        os.rename(self._path(), self._path())

    def _exchange(self) -> None:
        syscalls.rename(self._path(), self._path(), syscalls.RENAME_EXCHANGE)

    def _mkdir(self) -> None:
        os.mkdir(self._path())

    def _rmdir(self) -> None:
        os.rmdir(self._path())

    def _remove_all(self) -> None:
        path = self._path()
        if path != self._root and os.path.isdir(path):
            shutil.rmtree(path)

    def _link(self) -> None:
        os.link(self._path(), self._path(), follow_symlinks=False)

    def _symlink(self) -> None:
        os.symlink(self._random.choice((b"a", b"../c", b"nowhere")), self._path())

    def _chmod(self) -> None:
        path = self._path()
        if not os.path.islink(path):
            os.chmod(path, self._random.choice((0o644, 0o755, 0o4711, 0o1777)))

    def _chown(self) -> None:
        os.chown(self._path(), self._random.choice((0, 1234)), 1234, follow_symlinks=False)

    def _touch(self) -> None:
        os.utime(self._path(), ns=(1, self._random.choice((1, 1_234_567_890_123_456_789))), follow_symlinks=False)

    def _mknod(self) -> None:
        kind = self._random.choice((stat.S_IFIFO, stat.S_IFCHR))
        os.mknod(self._path(), kind | 0o600, os.makedev(1, 3))

    def _set_attribute(self) -> None:
        name = self._random.choice(("user.a", "trusted.a"))
        os.setxattr(self._path(), name, self._random.choice((b"", b"\xff\0=\n", b"value")), follow_symlinks=False)

    def _sparse(self) -> None:
        with actions.opened(self._path(), os.O_WRONLY | os.O_NONBLOCK) as descriptor:
            os.ftruncate(descriptor, 300_000)
            os.pwrite(descriptor, b"x", 200_000)
