"""Sessions that stay when their build has ended."""

from __future__ import annotations

from builder.build.job import Job
from builder.session import own_directories
from builder.store import kept_sessions


def keep_sessions(job: Job, stage: str) -> None:
    """The build's, and that of the build under variations where there was one."""
    for directory, name in ((job.directory, stage), (job.second, "varied")):
        if directory is None or not (directory / "layer").exists():
            continue
        try:
            kept = kept_sessions.keep(
                directory / "layer",
                directory / own_directories.NAME,
                job.below,
                stem=job.stem,
                package=f"{job.source.name} {job.source.version}",
                base=job.options.base,
                stage=name,
                made=job.summary.started,
                build_directory=job.build_directory,
            )
        except OSError as error:
            job.log.line(f"E: the session cannot be kept: {error}")
        else:
            told = f"cowbuild enter {kept}; cowbuild fork {kept}; cowbuild discard {kept}"
            job.log.line(f"The session is kept ({name}): {told}")
