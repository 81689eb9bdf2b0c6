"""Where one reads how many builds are: lines, or on a terminal a table that moves; an estimate of the end in both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.many.order import average
from builder.many.task import BUILT, Entry, State
from builder.screen import clock, lively
from cowfs import endings

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

COLOURS = {
    State.WAITING: "dim",
    State.BUILDING: "cyan",
    State.SUCCESSFUL: "green",
    State.FLAKY: "yellow",
    State.DEP_WAIT: "yellow",
}
OTHER_COLOUR = "red"

DRAW_EVERY = 0.25
"""Seconds."""

RECKON_EVERY = 1.0
"""Seconds."""

AROUND_ROWS = 8
"""Lines of a terminal that the rows of a table cannot have."""


class Board:
    """A line when one begins or ends, and a table after the last."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._progress = ""
        self._reckoned = -RECKON_EVERY
        """When that was."""

    def say(self, text: str) -> None:
        try:
            print(text, flush=True)
        except BrokenPipeError:
            # Whoever was reading has gone; the builds go on.
            endings.nobody_reads()

    def show(self, entries: Sequence[Entry]) -> None:
        """As they are now."""

    def conclude(self, entries: Sequence[Entry]) -> None:
        width = max(len(entry.task.name) for entry in entries)
        self.say("")
        for entry in entries:
            self.say(f"{entry.task.name:{width}}  {entry.state:12} {entry.seconds:8.0f} s")

    def progress(self, entries: Sequence[Entry]) -> str:
        """How many have ended, how, and how long the rest will take; as of a moment ago, and of all at the end."""
        # Of an archive, it would otherwise be what costs most.
        now = time.monotonic()
        if now - self._reckoned >= RECKON_EVERY or all(entry.ended for entry in entries):
            self._progress, self._reckoned = self._reckon(entries), now
        return self._progress

    def _reckon(self, entries: Sequence[Entry]) -> str:
        ended = [entry for entry in entries if entry.ended]
        bad = sum(entry.state not in BUILT for entry in ended)
        told = f"{len(ended)} of {len(entries)}" + (f", {bad} not built" if bad else "")
        left = seconds_left(entries, self._slots)
        return told if left is None else f"{told}, about {clock(left)} left"


class LiveBoard(Board):
    """The table all the time, on a terminal."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), auto_refresh=False, transient=True)
        self._drawn = 0.0

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def show(self, entries: Sequence[Entry]) -> None:
        if time.monotonic() - self._drawn < DRAW_EVERY:
            return
        self._drawn = time.monotonic()
        rows = max(3, self._live.console.size.height - AROUND_ROWS)
        self._live.start()
        self._live.update(_table(_of_interest(entries, rows), self.progress(entries)), refresh=True)

    def conclude(self, entries: Sequence[Entry]) -> None:
        self.close()
        self._live.console.print(_table(entries, ""))

    def close(self) -> None:
        self._live.stop()


def _of_interest(entries: Sequence[Entry], rows: int) -> Sequence[Entry]:
    """As many as there is room for: what is being built, then what failed, then the rest."""
    if len(entries) <= rows:
        return entries
    ranks = {State.BUILDING: 0, State.WAITING: 2, State.SUCCESSFUL: 3}
    chosen = sorted(entries, key=lambda entry: ranks.get(entry.state, 1))[:rows]
    names = {entry.task.name for entry in chosen}
    return [entry for entry in entries if entry.task.name in names]


def _table(entries: Sequence[Entry], below: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("Package", "State", "Stage", caption=Text(below) if below else None)
    table.add_column("Time", justify="right")
    several = len({entry.worker for entry in entries if entry.worker}) > 1
    if several:
        table.add_column("Worker")
    for entry in entries:
        building = entry.state is State.BUILDING
        seconds = time.monotonic() - entry.started if building else entry.seconds
        # The last part: of a long path the end would be cut off, which is what tells one from another.
        title = Text(Path(entry.task.name).name or entry.task.name)
        state = Text(entry.state, style=COLOURS.get(entry.state, OTHER_COLOUR))
        cells: list[Text | str] = [title, state, Text(entry.stage), clock(seconds) if building or entry.ended else ""]
        table.add_row(*cells, *([Text(entry.worker)] if several else []))
    return table


@contextmanager
def opened(slots: int) -> Iterator[Board]:
    if not lively():
        yield Board(slots)
        return
    board = LiveBoard(slots)
    try:
        yield board
    finally:
        board.close()


def seconds_left(entries: Sequence[Entry], slots: int) -> float | None:
    """How long until all have ended, as far as one can tell; None before anything is known."""
    took = [entry.seconds for entry in entries if entry.ended and entry.seconds]
    usual = sum(took) / len(took) if took else average(entries)
    if not usual:
        return None
    now = time.monotonic()
    rest = []
    for entry in entries:
        if not entry.ended:
            wanted = usual if entry.expected is None else entry.expected
            rest.append(max(wanted - (now - entry.started), 0.0) if entry.state is State.BUILDING else wanted)
    return max(sum(rest) / max(slots, 1), max(rest, default=0.0))
