"""The user's commands at the points of a build, and what follows where one fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from builder.build.job import Job
from builder.build.summary import StageFailed, Status
from builder.problems import Problem


def commands(job: Job, point: str) -> None:
    with job.part(f"run-{point}-commands", Status.FAILED):
        job.run_commands(point)


@contextmanager
def commands_on_failure(job: Job, point: str) -> Iterator[None]:
    """Run the user's commands for this point when what is in here fails; it stays the reason, whatever they do."""
    try:
        yield
    except StageFailed:
        try:
            job.run_commands(point)
        except Problem as problem:
            job.log.line(f"E: {problem}")
        raise


@contextmanager
def post_build_failed_commands(job: Job) -> Iterator[None]:
    try:
        yield
    except StageFailed:
        commands(job, "post-build-failed")
        raise
