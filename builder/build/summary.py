"""How a build ended: sbuild's statuses, exit codes and closing block."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

from builder.log import BuildLog, timestamp
from builder.problems import printable


class Status(Enum):
    """sbuild's words, and the exit codes it gives them."""

    SUCCESSFUL = ("successful", 0)
    SKIPPED = ("skipped", 0)
    FAILED = ("failed", 1)
    ATTEMPTED = ("attempted", 2)
    """The package is to blame: its build failed."""
    GIVEN_BACK = ("given-back", 3)
    """The package is not to blame: its source, dependencies, space or network were not to be had."""

    def __init__(self, word: str, exit_code: int) -> None:
        self.word = word
        self.exit_code = exit_code


class StageFailed(Exception):
    """A stage of the build ended the build. `stage` is sbuild's name for it."""

    def __init__(self, stage: str, status: Status, message: str, hint: str = "") -> None:
        super().__init__(printable(message))
        self.stage = stage
        self.status = status
        self.hint = hint


@dataclass
class Summary:
    """The fields of the closing block as they become known, and the clock behind the times in it."""

    fields: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.time)
    kilobytes: int = 0

    def note_seconds(self, name: str, seconds: float) -> None:
        self.fields[name] = str(round(seconds))

    def write(self, log: BuildLog, status: Status, failed_stage: str | None) -> None:
        log.section("Summary")
        ended = time.time()
        # Parsers of sbuild's logs want them all, whole numbers.
        times = {"Install-Time": "0", "Build-Time": "0", "Package-Time": str(round(ended - self.started))}
        fields = {**times, **self.fields, "Status": status.word}
        if failed_stage is not None:
            fields["Fail-Stage"] = failed_stage
        for name in sorted(fields):
            log.line(f"{name}: {fields[name]}")
        minutes, seconds = divmod(round(ended - self.started), 60)
        hours, minutes = divmod(minutes, 60)
        log.rule()
        log.line(f"Finished at {timestamp(ended)}")
        log.line(f"Build needed {hours:02}:{minutes:02}:{seconds:02}, {self.kilobytes}k disk space")
