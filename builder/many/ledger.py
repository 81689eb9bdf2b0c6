"""The ledger of many builds: a file from which the rest can be built after a crash of anything.

Lines of JSON, one for each change. The first says of which command it is. Each is written by one write(2) at the end
of the file, so that killing cowbuild loses at most the line that was being written: such a torn end is cut off.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.many.task import UNENDED, Entry, State
from builder.problems import Misuse, Problem

FORMAT = 1
LIMIT = 1024**3
"""Bytes that are read."""


@dataclass(frozen=True)
class Record:
    """A line of it: how a build was."""

    package: str
    version: str
    identity: str
    state: str
    exit_code: int
    tries: int
    worker: str
    seconds: float
    log: str
    reason: str


class Ledger:
    """Open for writing by nobody else."""

    def __init__(self, path: Path, asked: str, *, resume: bool) -> None:
        """Begin one, or go on with the one that is there. `asked` is what all of its builds have in common.

        Misuse where there is none to go on with, or it is of another command; Problem where it cannot be written.
        """
        self.path = path
        self._asked = asked
        self._descriptor = _opened(path, resume=resume)
        try:
            # A new one takes the place of the old only once nobody is found to write it.
            self._known = self._read() if resume else {}
            if not resume:
                os.ftruncate(self._descriptor, 0)
                self._append({"format": FORMAT, "asked": asked})
        except BaseException:
            self.close()
            raise

    def recall(self, entries: Iterable[Entry]) -> int:
        """Give entries the state that the file tells of them; how many have ended.

        What was given back, was waiting for another, or was being built, waits again; so does what has another source.
        """
        count = 0
        for entry in entries:
            told = self._known.get(entry.task.name)
            if told is None or told.identity != entry.task.identity or not entry.task.identity:
                continue
            state = State(told.state)
            if state in UNENDED or state in (State.GIVEN_BACK, State.DEP_WAIT, State.SIGNAL):
                continue
            entry.state, entry.exit_code, entry.tries = state, told.exit_code, told.tries
            entry.worker, entry.seconds, entry.version = told.worker, told.seconds, told.version
            entry.log, entry.reason = told.log, told.reason
            count += 1
        return count

    def note(self, entry: Entry) -> None:
        """Write down how it is now. Problem."""
        record = Record(
            package=entry.task.name,
            version=entry.version,
            identity=entry.task.identity,
            state=entry.state.value,
            exit_code=entry.exit_code,
            tries=entry.tries,
            worker=entry.worker,
            seconds=round(entry.seconds, 3),
            log=entry.log,
            reason=entry.reason,
        )
        self._append(vars(record))

    def close(self) -> None:
        os.close(self._descriptor)

    def _append(self, record: Mapping[str, Any]) -> None:
        data = json.dumps(record).encode() + b"\n"
        try:
            if os.write(self._descriptor, data) != len(data):
                raise OSError(f"only a part of {len(data)} bytes was taken")
        except OSError as error:
            raise Problem(f"Cannot write the ledger {self.path}: {error.strerror or error}") from None

    def _read(self) -> dict[str, Record]:
        data = os.pread(self._descriptor, LIMIT, 0)
        whole = data.rfind(b"\n") + 1
        os.ftruncate(self._descriptor, whole)
        try:
            first, *records = [json.loads(line) for line in data[:whole].splitlines()]
            if first["format"] != FORMAT:
                raise Misuse(f"{self.path} is a ledger of another version of cowbuild", "Leave --resume out.")
            asked = first["asked"]
            known = {record.package: record for record in map(_record, records)}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Misuse(f"{self.path} is no ledger of cowbuild", "--ledger FILE") from None
        if asked != self._asked:
            raise Misuse(
                f"{self.path} is the ledger of other options: {asked or 'none'}",
                "Say the same again, or leave --resume out to begin anew.",
            )
        return known


def _record(told: Any) -> Record:
    """The record that a line tells, whose fields are each of its kind. TypeError, ValueError."""
    record = Record(**told)
    numbers = {"exit_code": int, "tries": int, "seconds": int | float}
    if not all(isinstance(value, numbers.get(name, str)) for name, value in vars(record).items()):
        raise TypeError("a field is of another kind")
    State(record.state)
    return record


def _opened(path: Path, *, resume: bool) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if resume else os.O_CREAT)
    try:
        descriptor = os.open(path, flags, 0o666)
    except FileNotFoundError:
        raise Misuse(f"There is no ledger {path} to go on with", "Leave --resume out, or: --ledger FILE") from None
    except OSError as error:
        raise Problem(f"Cannot open the ledger {path}: {error.strerror}", "--ledger FILE") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Misuse(f"Another cowbuild writes the ledger {path}", "Wait for it, or: --ledger FILE") from None
    return descriptor
