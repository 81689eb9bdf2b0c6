"""Sessions that stay when their build has ended."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from builder.build.job import Job
from builder.session import own_directories
from builder.store import kept_sessions

if TYPE_CHECKING:  # few builds have them
    from builder.session.steps import Steps


def keep_sessions(job: Job, stage: str) -> None:
    """The build's, and that of the build under variations where there was one."""
    for directory, name in ((job.directory, stage), (job.second, "varied")):
        if directory is None or not (directory / "layer").exists():
            continue
        try:
            if job.steps:
                # All was in the union but the pipes by which steps are told.
                shutil.rmtree(directory / own_directories.NAME)
            kept = kept_sessions.keep(
                directory / "layer",
                directory / own_directories.NAME,
                job.below,
                stem=job.stem,
                package=f"{job.source.name} {job.source.version}",
                base=job.options.base,
                stage=name,
                made=job.summary.started,
                frozen=job.steps.frozen if job.steps else (),
                states=job.steps.taken if job.steps else (),
                build_directory=job.build_directory,
            )
        except OSError as error:
            job.log.line(f"E: the session cannot be kept: {error}")
        else:
            told = f"cowbuild enter {kept}; cowbuild fork {kept}; cowbuild discard {kept}"
            job.log.line(f"The session is kept ({name}): {told}")
            if job.steps:
                _tell_of_states(job, kept, job.steps)


def _tell_of_states(job: Job, kept: str, steps: Steps) -> None:
    job.log.line(f"States after debhelper's commands, to be entered and forked as {kept}:STATE:")
    for name, _layers in steps.taken:
        job.log.line(f"  {name}")
    if steps.left_out:
        job.log.line(f"W: {steps.left_out}")
