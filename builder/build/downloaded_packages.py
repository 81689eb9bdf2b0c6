"""What apt in a session would download, given to it from what earlier builds downloaded; and kept for later ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from builder import hostile_tree
from builder.build.job import Job
from builder.debian import apt
from builder.problems import Problem
from builder.store import downloads

ARCHIVES = "var/cache/apt/archives"


@contextmanager
def shared(job: Job, step: Sequence[str]) -> Iterator[list[str]]:
    """For a step of apt-get in the open session: options for it, with which it leaves what it has downloaded.

    apt is asked beforehand what it will want, with checksums, while nothing of what it is about to install has run.
    """
    limit = job.options.downloads_limit
    wanted = apt.to_be_downloaded(_asked(job, step)) if limit else []
    if not wanted:
        yield []
        return
    with _told(job), hostile_tree.directory(job.session.root, ARCHIVES) as archives:
        given = downloads.put_in(wanted, archives)
        if given:
            job.log.line(f"{given} of {len(wanted)} packages are there from earlier builds")
    yield ["-o", "APT::Keep-Downloaded-Packages=true"]
    with _told(job), hostile_tree.directory(job.session.root, ARCHIVES) as archives:
        try:
            downloads.take_out(wanted, archives)
            downloads.prune(limit)
        finally:
            downloads.remove([each.name for each in wanted], archives)


@contextmanager
def _told(job: Job) -> Iterator[None]:
    """A build need not fail because of what goes wrong in here."""
    try:
        yield
    except OSError as error:
        job.log.line(f"W: downloaded packages are not shared with other builds: {error}")


def _asked(job: Job, step: Sequence[str]) -> str:
    try:
        return job.session.output("apt-get", "-qq", "--print-uris", *apt.OPTIONS, *apt.STRONG_CHECKSUMS, *step)
    except Problem:
        return ""  # the step itself will fail, and say why
