"""The end of a build's session: thrown away, or kept for its user; and in the log, why the build ended."""

from __future__ import annotations

from builder.build.job import Job
from builder.session import own_directories
from builder.store import kept_sessions


def clean_up(job: Job, failed_stage: str | None, *reason: str) -> None:
    """The log says here why the build ended: sbuild's does, and so its readers look for it here."""
    job.log.section("Cleanup")
    for at, line in enumerate(reason):
        job.log.line(f"{'I' if at else 'E'}: {line}")
    if failed_stage is not None:
        job.log.line(f"E: the build of {job.source.name} ended in stage {failed_stage}")
    purge = job.options.purge_session
    if purge == "never" or (purge == "successful" and failed_stage is not None):
        _keep_session(job, failed_stage or "finished")
    else:
        job.log.line("Nothing is cleaned: the session is thrown away.")


def _keep_session(job: Job, stage: str) -> None:
    layer = job.directory / "layer"
    if not layer.exists():
        return
    try:
        name = kept_sessions.keep(
            layer,
            job.directory / own_directories.NAME,
            stem=job.stem,
            package=f"{job.source.name} {job.source.version}",
            base=job.options.base,
            stage=stage,
            made=job.summary.started,
            build_directory=job.build_directory,
        )
    except OSError as error:
        job.log.line(f"E: the session cannot be kept: {error}")
    else:
        job.log.line(f"The session is kept: cowbuild enter {name}; cowbuild fork {name}; cowbuild discard {name}")
