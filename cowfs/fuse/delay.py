"""What is said of a request that cannot be answered at once: a record, which slow.py works on.

A module of its own, without trio, so that a mount answers before that is loaded.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import NamedTuple

from cowfs.union.copyup import CopyUpNeeded
from cowfs.union.nodes import Node
from cowfs.union.tree import Tree

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Read(NamedTuple):
    """Content that is on a disk."""

    node: Node
    offset: int
    size: int


class Sync(NamedTuple):
    """fsync(2), or with `data_only` fdatasync(2)."""

    node: Node
    data_only: bool


class SyncAll(NamedTuple):
    """syncfs(2)."""


class Again(NamedTuple):
    """An operation that met what passes: a copy-up to be made, or a full disk."""

    operation: Callable[[], object]
    problem: CopyUpNeeded | OSError


Delay = Read | Sync | SyncAll | Again


class TakesLongError(Exception):
    """Not a failure: the answer is not at hand, and is got without stalling other requests."""

    def __init__(self, delay: Delay) -> None:
        super().__init__()
        self.delay = delay


def may_only_look_full(tree: Tree, error: OSError) -> bool:
    """Whether unlinked files hold space that is about to be free: their FORGET may still be under way.

    The kernel sends it after unlink(2) or the last close(2) has returned, when programs count on the space.
    """
    return error.errno in NO_SPACE and tree.upper.orphans() > 0
