"""The end of a build's session: thrown away, or kept for its user; and in the log, why the build ended."""

from __future__ import annotations

from builder.build import keeping
from builder.build.job import Job


def clean_up(job: Job, failed_stage: str | None, *reason: str) -> None:
    """The log says here why the build ended: sbuild's does, and so its readers look for it here."""
    job.log.section("Cleanup")
    for at, line in enumerate(reason):
        job.log.line(f"{'I' if at else 'E'}: {line}")
    if failed_stage is not None:
        job.log.line(f"E: the build of {job.source.name} ended in stage {failed_stage}")
    purge = job.options.purge_session
    if purge == "never" or (purge == "successful" and failed_stage is not None):
        keeping.keep_sessions(job, failed_stage or "finished")
    else:
        if job.options.incremental and failed_stage is None:
            # Only felt by builds that ask for it.
            from builder.build import incremental

            incremental.keep(job)
        job.log.line("Nothing is cleaned: the session is thrown away.")
