"""Running many builds as a command line says: where they stand is written down, and how they ended is told."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from builder.command.many_options import LEDGER
from builder.many import board, run
from builder.many.ledger import Ledger
from builder.many.task import Entry, Task
from builder.many.workers import Local
from builder.store import build_history


def ledger_of(arguments: argparse.Namespace, output: Path) -> Path:
    given: Path | None = arguments.ledger
    return given or output / LEDGER


@dataclass(frozen=True)
class Conduct:
    """How many builds are run."""

    parallel: int
    ledger: Path
    resume: bool
    retry_failed: bool
    asked: str
    """What all of them have in common, in words."""
    notes: Sequence[str] = ()
    """What is to be said before the first."""

    @classmethod
    def of(cls, arguments: argparse.Namespace, ledger: Path, asked: str, notes: Sequence[str] = ()) -> Self:
        return cls(arguments.parallel, ledger, arguments.resume, arguments.retry_failed, asked, notes)


def conduct(tasks: Sequence[Task], how: Conduct) -> int:
    """Run them, and say how they ended; the worst exit code. Problem, Interrupted."""
    return conduct_all(tasks, how, lambda _entries: [])[1]


def conduct_all(
    tasks: Sequence[Task],
    how: Conduct,
    more: Callable[[Sequence[Entry]], Sequence[Task]],
    after: Callable[[Entry], None] = lambda _entry: None,
) -> tuple[Sequence[Entry], int]:
    """Run them, and then what `more` makes of how they ended; all of them, and the worst exit code.

    `after` is called with each that has ended.
    """
    ledger = Ledger(how.ledger, how.asked, resume=how.resume)
    entries: list[Entry] = []
    try:
        with board.opened(how.parallel) as shown:
            for note in how.notes:
                shown.say(f"cowbuild: {note}")
            fresh = [Entry(task, expected=build_history.last_seconds(task.package)) for task in tasks]
            while fresh:
                if done := ledger.recall(fresh):
                    shown.say(f"cowbuild: {done} of {len(fresh)} are done, as {how.ledger} says")
                run.run(fresh, Local(how.parallel), ledger, shown, retry_failed=how.retry_failed, after=after)
                entries += fresh
                fresh = [Entry(task, expected=build_history.last_seconds(task.package)) for task in more(entries)]
            shown.conclude(entries)
    finally:
        ledger.close()
    return entries, max((run.exit_code(entry) for entry in entries), default=0)
