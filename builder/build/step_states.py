"""`cowbuild build --snapshot-steps`: a state after each debhelper command, to be entered and forked later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from builder.build.job import Job
from builder.build.summary import Status
from builder.session import steps
from builder.session.surroundings import VARIABLES


@contextmanager
def taken(job: Job) -> Iterator[None]:
    """What is built in here leaves its states in the job."""
    seen = job.surroundings
    path = f"{steps.PROGRAMS}:{seen.variables.get('PATH', VARIABLES['PATH'])}"
    with ExitStack() as stack:
        with job.part("snapshot-steps", Status.FAILED):
            job.steps = stack.enter_context(steps.watched(job.session, job.directory / "steps"))
        job.surroundings = replace(seen, variables={**seen.variables, "PATH": path})
        try:
            yield
        finally:
            job.surroundings = seen
