"""The end of a build's session: thrown away, or kept for its user; and in the log, why the build ended."""

from __future__ import annotations

from builder.build import keeping
from builder.build.job import Job

# Whoever compares titles finds sbuild's: it has no such section when it has not come as far as the source.
WITHOUT_SECTION = (
    *("run-pre-build-commands", "run-chroot-setup-commands", "add-repositories", "add-architecture", "apt-get-update"),
    *("apt-get-dist-upgrade", "add-packages"),
)

# The last line with an E: is what readers take where they know no better; these are sbuild's.
LAST_WORDS = {"apt-get-update": "apt-get update failed", "apt-get-dist-upgrade": "apt-get dist-upgrade failed"}


def clean_up(job: Job, failed_stage: str | None, *reason: str) -> None:
    """The log says here why the build ended: sbuild's does, and so its readers look for it here."""
    if failed_stage not in WITHOUT_SECTION:
        job.log.section("Cleanup")
    for at, line in enumerate(reason):
        job.log.line(f"{'I' if at else 'E'}: {line}")
    if failed_stage is not None:
        last = LAST_WORDS.get(failed_stage, f"the build of {job.source.name} ended in stage {failed_stage}")
        job.log.line(f"E: {last}")
    purge = job.options.purge_session
    if purge == "never" or (purge == "successful" and failed_stage is not None):
        keeping.keep_sessions(job, failed_stage or "finished")
    else:
        if job.options.incremental and failed_stage is None:
            # Only felt by builds that ask for it.
            from builder.build import incremental

            incremental.keep(job)
        job.log.line("Nothing is cleaned: the session is thrown away.")
