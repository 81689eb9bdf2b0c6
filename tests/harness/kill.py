"""Daemons that die at a chosen moment, and random work whose outcome can be told from what was acknowledged."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from types import ModuleType

import cowfs.layer.open_layer
import cowfs.linux
from cowfs.union.complete import complete_layer
from cowfs.union.tree import Tree
from tests.harness import actions, syscalls
from tests.harness.trees import Description, file, link_to, symlink

# The calls by which the union changes a layer. What one of them does is atomic for a process that is killed.
_CHANGING: dict[ModuleType, tuple[str, ...]] = {
    os: (
        *("rename", "link", "unlink", "mkdir", "rmdir", "symlink", "mknod", "chmod", "chown", "fchmod", "fchown"),
        *("setxattr", "removexattr", "ftruncate", "pwrite", "copy_file_range", "utime"),
    ),
    cowfs.linux: ("rename", "chmod", "set_times", "fallocate", "clone_file"),
}


def die_before_change(countdown: int) -> Callable[[], None]:
    """To be done in a daemon: it kills itself (SIGKILL) when it is about to change its layer for that many-th time."""

    def prepare() -> None:
        left = iter(range(countdown - 1))

        def guarded(call: Callable[..., object]) -> Callable[..., object]:
            @wraps(call)
            def count_and_call(*arguments: object, **named: object) -> object:
                if next(left, None) is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*arguments, **named)

            return count_and_call

        for module, names in _CHANGING.items():
            for name in names:
                setattr(module, name, guarded(getattr(module, name)))

    return prepare


def die_at_the_end(countdown: int) -> Callable[[], None]:
    """To be done in a daemon: it dies after the unmount, when it is about to change its layer for that many-th time."""

    def prepare() -> None:
        def die_while_completing(tree: Tree) -> None:
            die_before_change(countdown)()
            complete_layer(tree)

        vars(cowfs.layer.open_layer)["complete_layer"] = die_while_completing

    return prepare


LARGE = bytes(range(256)) * 2048  # copied up in a thread

BASE: Description = {
    **{f"d{number % 3}/f{number}": file(b"base %03d\n" % number * 40, mode=0o640) for number in range(12)},
    "d0/large": file(LARGE),
    "d1/large": file(LARGE),
    "d0/one": file(b"hard linked\n" * 50, xattrs={"user.kept": b"value"}),
    "d1/two": link_to("d0/one"),
    "d2/three": link_to("d0/one"),
    "d1/sub/deep/leaf": file(b"leaf"),
    "d2/sub/leaf": file(b"other leaf"),
    "d0/link": symlink("../d1/two"),
}
_DIRECTORIES = ("d0", "d1", "d2", "d1/sub", "d2/sub", "d0/made", "d1/made")
_NAMES = (
    "f0",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "one",
    "two",
    "three",
    "large",
    "leaf",
    "new",
    "sub",
    "made",
    "link",
    "deep",
)

Operation = Callable[[bytes], object]


def random_operations(seed: int) -> Iterator[Operation]:
    """Endless operations on a tree like BASE, each a single change. They take the tree's root; many will fail."""
    randomly = random.Random(seed)

    def path() -> bytes:
        return f"/{randomly.choice(_DIRECTORIES)}/{randomly.choice(_NAMES)}".encode()

    while True:
        kind = randomly.choice(tuple(_KINDS))
        yield _KINDS[kind](path(), path(), randomly.randrange(1 << 16))


def outcome(operation: Operation, root: bytes) -> str:
    """The name of the error that an operation ends with; "" if it succeeds."""
    return actions.error_of(lambda: operation(root))


_KINDS: dict[str, Callable[[bytes, bytes, int], Operation]] = {
    "write": lambda one, _, number: lambda root: actions.write(root + one, b"written %05d" % number, number % 3000),
    "append": lambda one, _, number: lambda root: actions.append(root + one, b"appended %05d\n" % number),
    "truncate": lambda one, _, number: lambda root: os.truncate(root + one, number % 5000),
    "create": lambda one, _, __: lambda root: actions.create(root + one),
    "unlink": lambda one, _, __: lambda root: os.unlink(root + one),
    "mkdir": lambda one, _, __: lambda root: os.mkdir(root + one),
    "rmdir": lambda one, _, __: lambda root: os.rmdir(root + one),
    "link": lambda one, two, _: lambda root: os.link(root + one, root + two, follow_symlinks=False),
    "symlink": lambda one, _, number: lambda root: os.symlink(b"to-%d" % number, root + one),
    "rename": lambda one, two, _: lambda root: os.rename(root + one, root + two),
    "exchange": lambda one, two, _: lambda root: syscalls.rename(root + one, root + two, syscalls.RENAME_EXCHANGE),
    "chmod": lambda one, _, number: lambda root: os.chmod(root + one, 0o700 | number % 64),
    "chown": lambda one, _, number: lambda root: os.chown(root + one, number, -1, follow_symlinks=False),
    "setxattr": lambda one, _, number: lambda root: os.setxattr(root + one, "user.set", b"%d" % number),
}


_DEAD = ("ENOTCONN", "ECONNABORTED", "ECANCELED", "EINTR")
"""What a mount says whose daemon is gone; the last two for a request that is just in its ring when it is killed."""


def work(root: bytes, operations: Iterable[Operation], report: int) -> None:
    """Do the operations one by one and tell each one's outcome, a line each, as long as the mount lives."""
    for operation in operations:
        said = outcome(operation, root)
        if said in _DEAD:
            return
        os.write(report, said.encode() + b"\n")
