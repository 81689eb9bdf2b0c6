"""What running many builds costs beside the builds: stub workers, to which each build is a few events.

    python -m benchmarks.many_builds [BUILDS [WORKERS]]

Processor time, which other work on the machine hardly changes, and memory; for growing numbers of builds.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from builder.many.board import Board
from builder.many.ledger import Ledger
from builder.many.run import run
from builder.many.task import Ended, Entry, Event, Started, Task, Told

BUILDS, WORKERS = 10_000, 200
STAGES = 8
"""What a build tells of itself before it ends."""


class Stubs:
    """So many workers, each of which ends the build it has at the next look."""

    tries = 2

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._running: deque[str] = deque()

    def room(self) -> bool:
        return len(self._running) < self.slots

    def start(self, task: Task, avoided: Iterable[str]) -> None:
        self._running.append(task.name)

    def wait(self) -> Sequence[Event]:
        events: list[Event] = []
        for number, name in enumerate(self._running):
            worker = f"worker-{number}"
            events += [Started(name, worker), *(Told(name, stage=f"stage {at}") for at in range(STAGES))]
            events.append(Ended(name, 0, worker))
        self._running.clear()
        return events

    def alone(self) -> None:
        """They never disturb each other."""

    def close(self) -> None:
        self._running.clear()


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(builds: int, workers: int, place: Path) -> tuple[float, float, float]:
    """Seconds of processor time to run them, to take them up again, and bytes of memory for each."""
    before = resident()
    tasks = [
        Task(f"package-{at}_1.0-1", ["build", "x"], package=f"package-{at}", identity="1.0-1") for at in range(builds)
    ]
    entries = [Entry(task, expected=float(at % 977)) for at, task in enumerate(tasks)]
    started = time.process_time()
    ledger = Ledger(place / "ledger", "", resume=False)
    with contextlib.redirect_stdout(io.StringIO()):
        run(entries, Stubs(workers), ledger, Board(workers), retry_failed=True)
    took = time.process_time() - started
    ledger.close()
    memory = resident() - before
    started = time.process_time()
    ledger = Ledger(place / "ledger", "", resume=True)
    assert ledger.recall([Entry(task) for task in tasks]) == builds
    ledger.close()
    return took / builds, (time.process_time() - started) / builds, memory / builds


def main() -> None:
    given = [int(word) for word in sys.argv[1:3]]
    most, workers = [*given, *(BUILDS, WORKERS)[len(given) :]]
    print(f"{'builds':>8} {'each, ms':>10} {'resumed, ms':>12} {'memory, kB':>12}   {workers} stub workers")
    for builds in sorted({most // 10, most // 3, most}):
        with tempfile.TemporaryDirectory() as place:
            each, resumed, memory = measure(builds, workers, Path(place))
        print(f"{builds:>8} {each * 1000:>10.3f} {resumed * 1000:>12.3f} {memory / 1000:>12.1f}")


if __name__ == "__main__":
    main()
