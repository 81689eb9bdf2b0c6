"""The same build again under variations: from the same frozen layers, side by side where processors allow."""

from __future__ import annotations

import os
import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from builder.build import comparison, vary
from builder.build.artifacts import Artifacts
from builder.build.job import Job
from builder.build.summary import StageFailed
from builder.log import BuildLog
from builder.problems import Problem
from builder.screen import NoScreen
from builder.verdict.findings import Findings, Trial
from builder.verdict.smallest import smallest

T = TypeVar("T")

Make = Callable[[Job], Artifacts]
"""Goes through the stages in an open session, from unpacking on."""


@dataclass(frozen=True)
class Attempt:
    """A build that came to an end: what it made, or why it made nothing."""

    directory: Path
    made: Artifacts | None = None
    failure: StageFailed | None = None

    @property
    def log(self) -> Path:
        return self.directory / "log"


class Started(Generic[T]):
    """Work in a thread of its own, which dies with the process: whoever interrupts a build waits for none."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
        self._work = work
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._outcome.put((self._work(), None))
        except BaseException as error:
            self._outcome.put((None, error))

    def result(self) -> T:
        """What it returns, when it has ended; raises what it raised."""
        result, error = self._outcome.get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


def at_a_time(job: Job) -> int:
    """So many builds side by side: one for each processor; one after the other where the user's commands are run."""
    return 1 if any(job.options.commands.values()) else len(os.sched_getaffinity(0))


def begin(job: Job, layers: Sequence[Path], make: Make) -> Callable[[], Attempt]:
    """The build under all variations, begun where it can go on beside another; what is returned waits for its end."""

    def work() -> Attempt:
        return attempt(job, layers, vary.wanted(job.options), make)

    return Started(work).result if at_a_time(job) > 1 else work


def attempt(job: Job, layers: Sequence[Path], names: Sequence[str], make: Make) -> Attempt:
    """Build in a session of its own, with a log of its own."""
    directory = Path(tempfile.mkdtemp(prefix="again-", dir=job.directory))
    log = BuildLog(NoScreen())
    log.keep_in(directory / "log")
    other = job.another(directory, log, vary.surroundings(job.options, names))
    try:
        with other.open_session(directory, layers, other.surroundings, memory=job.options.build_in_memory):
            return Attempt(directory, made=make(other))
    except StageFailed as failure:
        return Attempt(directory, failure=failure)
    finally:
        log.close()


def bisect(job: Job, layers: Sequence[Path], make: Make, findings: Findings) -> None:
    """Find out which variations matter: each alone, and the smallest sets. The trials go into the findings."""
    names = vary.wanted(job.options)
    log = job.log
    log.section("Bisect")
    room = threading.Semaphore(at_a_time(job))

    def in_turn(some: tuple[str, ...]) -> Callable[[], Trial]:
        def work() -> Trial:
            with room:
                return trial(job, layers, some, make)

        return work

    def add(each: Trial) -> Trial:
        findings.trials.append(each)
        answer = "failed" if each.failed else "differs" if each.files else "the same"
        log.line(f"{' '.join(each.names) or 'nothing varied, again'}: {answer}")
        return each

    if add(trial(job, layers, (), make)).differs:
        findings.notes.append("Two builds under the same conditions differ: something else than a variation matters")
        return
    begun = [Started(in_turn((name,))) for name in names]
    alone = [add(each.result()) for each in begun]
    matter = [each.names[0] for each in alone if each.differs]
    findings.sets += [(name,) for name in matter]
    rest = tuple(name for name in names if name not in matter)

    def differ(some: Sequence[str]) -> bool:
        # Alone none of them does.
        return len(some) > 1 and add(trial(job, layers, tuple(some), make)).differs

    # Where none does alone, all together are known to.
    if not matter or differ(rest):
        findings.sets.append(tuple(smallest(rest, differ)))


def trial(job: Job, layers: Sequence[Path], names: tuple[str, ...], make: Make) -> Trial:
    """A build under these variations, compared with the first; nothing else is left of it."""
    assert job.result is not None
    done = attempt(job, layers, names, make)
    try:
        if done.made is None:
            return Trial(names, failed=str(done.failure))
        files = comparison.differing(job.result, done.made)
        both = [name for name in files if name in job.result.names and name in done.made.names]
        said = ""
        if both:
            said = comparison.first_lines(job.result.directory / both[0], done.made.directory / both[0])
        return Trial(names, tuple(files), said)
    finally:
        shutil.rmtree(done.directory)


def copy_log(job: Job, done: Attempt) -> None:
    """What a build said that was beside another, into that one's log. Problem."""
    try:
        with done.log.open("rb") as file:
            while piece := file.read(1024 * 1024):
                job.log.write(piece)
    except OSError as error:
        raise Problem(f"The second build's log cannot be read: {error.strerror}") from None
