"""The builds are run: begun in order where there is room, tried again where that makes sense, and written down."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from builder.interrupts import interrupt
from builder.many.board import Board
from builder.many.ledger import Ledger
from builder.many.order import longest_first
from builder.many.sources import made_packages
from builder.many.task import BLAMED, OF_EXIT_CODE, Ended, Entry, Event, Started, State, Task, Told
from builder.many.workers import Workers
from builder.problems import Problem

GIVEN_BACK = frozenset([State.GIVEN_BACK, State.SIGNAL])


def run(
    entries: Sequence[Entry],
    workers: Workers,
    ledger: Ledger,
    board: Board,
    *,
    retry_failed: bool,
    after: Callable[[Entry], None] = lambda _entry: None,
) -> None:
    """Build all that have not ended.

    What was given back is tried again, elsewhere where that can be; what failed, once more at the end and alone, where
    `retry_failed`. `after` is called with each that has ended. Interrupted ends all of them.
    """
    with _interruptible():
        try:
            _Run(entries, workers, ledger, board, after).all(retry_failed=retry_failed)
        finally:
            workers.close()


def exit_code(entry: Entry) -> int:
    """As a shell has it."""
    return entry.exit_code if entry.exit_code >= 0 else 128 - entry.exit_code


class _Run:
    def __init__(
        self,
        entries: Sequence[Entry],
        workers: Workers,
        ledger: Ledger,
        board: Board,
        after: Callable[[Entry], None],
    ) -> None:
        self._entries, self._after = entries, after
        self._by_name = {entry.task.name: entry for entry in entries}
        self._workers, self._ledger, self._board = workers, ledger, board
        self._waiting: deque[Entry] = deque()
        self._needs = {entry.task.name: set(entry.task.needs) & self._by_name.keys() for entry in entries}
        self._running = 0
        self._failed_before: set[str] = set()

    def all(self, *, retry_failed: bool) -> None:
        self._work([entry for entry in self._entries if not entry.ended])
        again = [entry for entry in self._entries if entry.state in BLAMED and entry.tries == 1]
        if retry_failed and again:
            self._board.say(f"{len(again)} failed; each is tried again alone")
            self._workers.alone()
            self._failed_before = {entry.task.name for entry in again}
            for entry in again:
                entry.state = State.WAITING
            # What waits for one of them may now be built, too.
            waited = [entry for entry in self._entries if entry.state is State.DEP_WAIT]
            for entry in waited:
                entry.state = State.WAITING
            self._work([*again, *waited])

    def _work(self, entries: Sequence[Entry]) -> None:
        self._waiting = deque(longest_first(entries))
        while self._waiting or self._running:
            self._begin()
            for event in self._workers.wait():
                self._heed(event)
            self._board.show(self._entries)

    def _begin(self) -> None:
        """Hand out what can be begun, in order."""
        passed: list[Entry] = []
        while self._waiting and self._workers.room():
            entry = self._waiting.popleft()
            needed = [self._by_name[name] for name in self._needs[entry.task.name]]
            missing = [other for other in needed if other.ended and not other.built]
            if missing:
                entry.exit_code, entry.reason = 3, f"needs {missing[0].task.name}, which was not built"
                self._end(entry, State.DEP_WAIT)
            elif any(not other.ended for other in needed):
                passed.append(entry)
            else:
                self._start(entry)
        self._waiting.extendleft(reversed(passed))

    def _start(self, entry: Entry) -> None:
        try:
            task = self._with_what_it_needs(entry.task)
        except Problem as problem:
            entry.exit_code, entry.reason = 3, str(problem)
            self._end(entry, State.GIVEN_BACK)
            return
        entry.state, entry.started, entry.stage, entry.reason = State.BUILDING, time.monotonic(), "", ""
        entry.tries += 1
        self._running += 1
        self._workers.start(task, entry.avoided)

    def _with_what_it_needs(self, task: Task) -> Task:
        """To be built with the packages of all that it needs, and of what they need. Problem."""
        found: dict[str, Entry] = {}
        wanted = list(self._needs[task.name])
        while wanted:
            if (name := wanted.pop()) not in found:
                found[name] = self._by_name[name]
                wanted += self._needs[name]
        packages = [
            package
            for entry in found.values()
            for package in made_packages(Path(entry.task.output), entry.task.package, entry.version)
        ]
        return replace(task, words=[*task.words, *(f"--extra-package={package}" for package in packages)])

    def _heed(self, event: Event) -> None:
        entry = self._by_name[event.name]
        if isinstance(event, Started):
            entry.worker, entry.started = event.worker, time.monotonic()
            self._ledger.note(entry)
            self._board.say(f"{event.name}: started")
        elif isinstance(event, Told):
            self._hear(entry, event)
        else:
            self._take_end(entry, event)

    def _hear(self, entry: Entry, told: Told) -> None:
        if told.stage:
            entry.stage = told.stage
        if told.version:
            entry.version, entry.log = told.version, told.log
        if told.line:
            entry.reason = told.line
            self._board.say(f"{told.name}: {told.line}")

    def _take_end(self, entry: Entry, ended: Ended) -> None:
        self._running -= 1
        entry.exit_code = ended.exit_code
        entry.seconds = time.monotonic() - entry.started
        entry.worker, entry.log = ended.worker or entry.worker, ended.log or entry.log
        entry.reason = "" if ended.exit_code == 0 else ended.reason or entry.reason
        state = OF_EXIT_CODE.get(ended.exit_code, State.SIGNAL if _by_signal(ended.exit_code) else State.OTHER)
        if state in GIVEN_BACK and entry.tries < self._workers.tries:
            entry.avoided.add(entry.worker)
            entry.state = State.WAITING
            self._ledger.note(entry)
            self._board.say(f"{entry.task.name}: {state}, tried again later")
            self._waiting.append(entry)
            return
        self._end(entry, State.FLAKY if state.value == "successful" and self._was_bad(entry) else state)

    def _was_bad(self, entry: Entry) -> bool:
        return entry.task.name in self._failed_before

    def _end(self, entry: Entry, state: State) -> None:
        entry.state = state
        if entry.built:
            entry.stage = ""
        self._after(entry)
        self._ledger.note(entry)
        self._board.say(f"{entry.task.name}: {state} ({self._board.progress(self._entries)})")


def _by_signal(code: int) -> bool:
    return code < 0 or code > 128


@contextmanager
def _interruptible() -> Iterator[None]:
    """Signals raise Interrupted."""

    def obey(number: int, _frame: FrameType | None) -> None:
        interrupt(number)

    before = {number: signal.signal(number, obey) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
