"""The log of a build in the output directory: a name for each, and a link to the last."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from builder.build.outputs import candidates
from builder.log import BuildLog
from builder.problems import Problem

ENDING = ".build"

TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class LogPlace:
    """Where a log goes, and what it is called, as sbuild has it."""

    output: Path
    """Where the link is."""
    stem: str
    directory: Path | None = None
    """Where the log itself is that does not lie beside the link."""
    time_format: str = TIME
    buildd: str = ""
    """A distribution: the names are those that a buildd for it looks for."""

    def start(self, log: BuildLog, started: float) -> None:
        """In a file of its own, also when a build of the same package began in the same second. Problem."""
        directory = self.directory or self.output
        name = f"{self.stem}-{time.strftime(self.time_format, time.gmtime(started))}{'' if self.buildd else ENDING}"
        for path in candidates(directory / name):
            try:
                log.keep_in(path)
            except FileExistsError:
                continue
            except OSError as error:
                raise Problem(f"Cannot write the log into {directory}: {error.strerror}") from None
            else:
                return
        raise Problem(f"Cannot write the log into {directory}: there are too many of that name")

    def link(self, log: BuildLog) -> None:
        """As sbuild does: NAME.build points to the last log. Where something else has that name, it stays."""
        if log.path is None:
            return
        latest = self.output / (f"current-{self.buildd}" if self.buildd else f"{self.stem}{ENDING}")
        link = latest.with_name(f".{latest.name}.{os.getpid()}")
        try:
            if os.path.lexists(latest) and not self._is_link_to_log(latest):
                log.line(f"W: {latest} is no link to an earlier log: it stays; this log is {log.path.name}")
                return
            link.symlink_to(log.path.name if log.path.parent == self.output else log.path)
            link.rename(latest)
        except OSError:
            link.unlink(missing_ok=True)

    def _is_link_to_log(self, path: Path) -> bool:
        name = Path(os.readlink(path)).name if path.is_symlink() else ""
        # A buildd's is to the log of any package.
        return re.fullmatch(".+-.*" if self.buildd else rf"{re.escape(self.stem)}-.*\.build", name) is not None
