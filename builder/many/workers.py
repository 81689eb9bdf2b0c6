"""Where builds are run: so many at a time on this machine, or whatever else does what this can."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from builder.interrupts import uninterrupted
from builder.many.running import COWBUILD, Running
from builder.many.task import Ended, Event, Started, Task

LOOK_EVERY = 0.1
"""Seconds."""

HERE = "localhost"


class Workers(Protocol):
    """Takes builds, and tells what becomes of them."""

    @property
    def slots(self) -> int:
        """How many are run at the same time."""

    @property
    def tries(self) -> int:
        """How often at most one is begun that is given back."""

    def room(self) -> bool:
        """Whether another would be begun soon."""

    def start(self, task: Task, avoided: Iterable[str]) -> None:
        """Run it, rather not on a worker of these names."""

    def wait(self) -> Sequence[Event]:
        """What has happened since, after a moment."""

    def alone(self) -> None:
        """From now on each is to be undisturbed by the others."""

    def close(self) -> None:
        """End what is still run, and wait until it has ended."""


class Local:
    """The machine that cowbuild runs on; there is no other worker that could be taken."""

    def __init__(self, slots: int, program: Sequence[str] = COWBUILD) -> None:
        self.slots = slots
        self.tries = 2
        self._program = program
        self._running: list[Running] = []
        self._events: list[Event] = []

    def room(self) -> bool:
        return len(self._running) < self.slots

    def start(self, task: Task, avoided: Iterable[str]) -> None:
        Path(task.output).mkdir(parents=True, exist_ok=True)
        # What was begun and not noted would never be ended.
        with uninterrupted():
            self._running.append(Running(task, program=self._program))
        self._events.append(Started(task.name, HERE))

    def wait(self) -> Sequence[Event]:
        time.sleep(LOOK_EVERY)
        events, self._events = self._events, []
        for running in list(self._running):
            code = running.exit_code()
            events += running.hear()
            if code is not None:
                running.close()
                self._running.remove(running)
                events.append(Ended(running.task.name, code, HERE))
        return events

    def alone(self) -> None:
        self.slots = 1

    def close(self) -> None:
        for running in self._running:
            running.ask_to_end()
        for running in self._running:
            running.close()
        self._running.clear()
