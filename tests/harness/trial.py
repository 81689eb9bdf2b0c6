"""The same operations on an ordinary directory and on a mount: results, errors and trees compared."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from tests.harness.snapshot import Snapshot, differences, snapshot
from tests.harness.users import as_user

CLOCK_TICK_NS = 50_000_000  # the kernel's clock of file times lags behind by a tick

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


@dataclass
class Trial:
    """One run of the operations. `root` is the tree they work on; `outcomes` is what each of them gave."""

    root: bytes
    outcomes: list[tuple[str, object]] = field(default_factory=list)

    def path(self, name: str | bytes = b".") -> bytes:
        return os.path.join(self.root, os.fsencode(name))

    def attempt(
        self, label: str, call: Callable[Arguments, Result], *args: Arguments.args, **named: Arguments.kwargs
    ) -> Result | None:
        """Record what `call` returns, or by its name the error it raises (then None is returned)."""
        try:
            result = call(*args, **named)
        except OSError as error:
            self.outcomes.append((label, errno.errorcode[error.errno or 0]))
            return None
        self.outcomes.append((label, result))
        return result

    def note(self, label: str, value: object) -> None:
        self.outcomes.append((label, value))

    def do_as(
        self, operations: Callable[[Trial], object], uid: int, gid: int | None = None, groups: Sequence[int] = ()
    ) -> None:
        """Do `operations` as somebody else, all of them in one child process: a fork for each takes most of the time.

        What they give must be such that pickle can carry it.
        """

        def outcomes() -> list[tuple[str, object]]:
            trial = Trial(self.root)
            operations(trial)
            return trial.outcomes

        self.outcomes += as_user(outcomes, uid, gid, groups)


Operations = Callable[[Trial], object]


def compare(plain: str | bytes, mounted: str | bytes, *operations: Operations, now: int = 0) -> Snapshot:
    """Run `operations` on both trees; fail, showing every difference, unless they end alike. The mount's tree.

    File times at or after `now` (ns; by default, when this is called) count as equal.
    """
    now = now or time.time_ns() - CLOCK_TICK_NS
    runs = [Trial(os.fsencode(plain)), Trial(os.fsencode(mounted))]
    for trial in runs:
        for operation in operations:
            operation(trial)
    left, right = runs
    assert [label for label, _ in left.outcomes] == [label for label, _ in right.outcomes]
    lines = [
        f"{label}: {expected!r} -> {got!r}"
        for (label, expected), (_, got) in zip(left.outcomes, right.outcomes, strict=True)
        if expected != got
    ]
    tree = snapshot(mounted, now=now)
    lines += differences(snapshot(plain, now=now), tree)
    assert not lines, "ordinary directory -> mount\n" + "\n".join(lines)
    return tree
