"""A build's place in the history: what is noted of it; what changed where it failed and an earlier one had not."""

from __future__ import annotations

import time

from builder.build.job import Job
from builder.build.summary import Status
from builder.log import timestamp
from builder.problems import Problem
from builder.store import bases, build_history
from builder.store.build_history import PastBuild

SHOWN = 20
"""Changed packages in the log; `cowbuild history --json` has all."""


def remember(job: Job, status: Status, failed_stage: str | None) -> None:
    """Note how a build ended. The log of one that failed says what has changed since one succeeded."""
    path = "" if job.log.path is None else str(job.log.path.absolute())
    build = PastBuild(
        package=job.source.name,
        version=job.summary.fields.get("Version", job.source.version),
        architecture=job.architecture,
        base=bases.name_of(job.options.base),
        started=job.summary.started,
        seconds=max(0.0, time.time() - job.summary.started),
        status=status.word,
        stage=failed_stage or "",
        # A record has one line of it; where that would be another path, it has none.
        log=path if path.isprintable() else "",
        installed=" ".join(job.installed),
    )
    try:
        build_history.add(build)
        if found := build_history.suspects(build, build_history.of_package(build.package)):
            _compare(job, build, *found)
    except (Problem, OSError) as problem:
        job.log.line(f"W: the history does not tell of this build: {problem}")


def _compare(job: Job, build: PastBuild, good: PastBuild, changes: list[build_history.Change]) -> None:
    same = f"with the same packages: the {'version' if good.version != build.version else 'source'} may tell why"
    source = "" if good.version == build.version else f", of version {good.version},"
    told = f"{len(changes)} packages are others:" if changes else f"it was {same}"
    job.log.line(f"\nThe build of {timestamp(good.started)}{source} succeeded; {told}")
    for each in changes[:SHOWN]:
        job.log.line(f"  {each}")
    if len(changes) > SHOWN:
        job.log.line(f"  and {len(changes) - SHOWN} more: cowbuild history {build.package} --json")
