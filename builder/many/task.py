"""One of many builds: what is to be run, and how it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """How a build is. sbuild's words, where it has one."""

    WAITING = "waiting"
    BUILDING = "building"
    SUCCESSFUL = "successful"
    FLAKY = "flaky"
    """It failed, and succeeded when it was tried again alone."""
    FAILED = "failed"
    ATTEMPTED = "attempted"
    """The package is to blame."""
    GIVEN_BACK = "given-back"
    """It is not."""
    DEP_WAIT = "dep-wait"
    """Not begun: what it needs of the same set was not built."""
    SIGNAL = "ended by a signal"
    OTHER = "ended oddly"


OF_EXIT_CODE = {0: State.SUCCESSFUL, 1: State.FAILED, 2: State.ATTEMPTED, 3: State.GIVEN_BACK}
BUILT = frozenset([State.SUCCESSFUL, State.FLAKY])
BLAMED = frozenset([State.FAILED, State.ATTEMPTED])
"""What a second try elsewhere would only repeat."""
UNENDED = frozenset([State.WAITING, State.BUILDING])


@dataclass(frozen=True)
class Task:
    """What is to be run. `name` is its own among all of them."""

    name: str
    words: Sequence[str]
    """The command line, without the word cowbuild."""
    package: str = ""
    """The source package's name, by which the time that it takes is remembered."""
    identity: str = ""
    """What tells another source of the same name: a checksum, a version. Empty where nothing does."""
    needs: Sequence[str] = ()
    """Names of those that are built before, and whose packages it is built with."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What the caller's lacks."""
    output: str = ""
    """The directory that its files come to."""


@dataclass
class Entry:
    """A task, and how it is."""

    task: Task
    state: State = State.WAITING
    exit_code: int = 0
    tries: int = 0
    worker: str = ""
    seconds: float = 0.0
    """Of the last try."""
    version: str = ""
    log: str = ""
    reason: str = ""
    """Why it failed, in words."""
    expected: float | None = None
    """Seconds, as far as they are known from earlier builds."""
    stage: str = ""
    started: float = 0.0
    """By time.monotonic()."""
    avoided: set[str] = field(default_factory=set)
    """Workers that gave it back."""

    @property
    def built(self) -> bool:
        return self.state in BUILT

    @property
    def ended(self) -> bool:
        return self.state not in UNENDED


@dataclass(frozen=True)
class Started:
    """A worker has begun with it."""

    name: str
    worker: str


@dataclass(frozen=True)
class Told:
    """What a build says of itself: its stage, its version and log, or why it fails."""

    name: str
    stage: str = ""
    version: str = ""
    log: str = ""
    line: str = ""


@dataclass(frozen=True)
class Ended:
    """Its exit code, negative for a signal as Python has it, and the log where that is elsewhere than was told."""

    name: str
    exit_code: int
    worker: str = ""
    log: str = ""
    reason: str = ""


Event = Started | Told | Ended
