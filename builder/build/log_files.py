"""The log of a build in the output directory: a name for each, and a link to the last."""

from __future__ import annotations

import os
import re
from pathlib import Path

from builder.build.job import Job
from builder.build.outputs import candidates
from builder.log import BuildLog
from builder.problems import Problem


def start_log(log: BuildLog, output: Path, stem: str) -> None:
    """In a file of its own, also when a build of the same package began in the same second."""
    for path in candidates(output / f"{stem}.build"):
        try:
            log.keep_in(path)
        except FileExistsError:
            continue
        except OSError as error:
            raise Problem(f"Cannot write the log into {output}: {error.strerror}") from None
        else:
            return
    raise Problem(f"Cannot write the log into {output}: there are too many of that name")


def link_latest(job: Job, log_path: Path) -> None:
    """As sbuild does: NAME.build points to the last log. Where something else has that name, it stays."""
    latest = job.options.output / f"{job.stem}.build"
    link = latest.with_name(f".{latest.name}.{os.getpid()}")
    try:
        if os.path.lexists(latest) and not _is_link_to_log(latest, job.stem):
            job.log.line(f"W: {latest} is no link to an earlier log: it stays; this log is {log_path.name}")
            return
        link.symlink_to(log_path.name)
        link.rename(latest)
    except OSError:
        link.unlink(missing_ok=True)


def _is_link_to_log(path: Path, stem: str) -> bool:
    return path.is_symlink() and re.fullmatch(rf"{re.escape(stem)}-[^/]*\.build", os.readlink(path)) is not None
