"""What the build made, shown in its log: .changes, .buildinfo, and what is in the packages."""

from __future__ import annotations

from pathlib import Path

from builder.build.job import Job
from builder.build.summary import Status
from builder.debian import dsc
from builder.problems import printable


def show(job: Job) -> None:
    assert job.result is not None
    job.log.section("Changes")
    for changes in job.result.ending(".changes"):
        job.log.subsection(f"{changes.name}:")
        _show_text(job, changes)
    for buildinfo in job.result.ending(".buildinfo"):
        job.log.section("Buildinfo")
        _show_text(job, buildinfo)
    job.log.section("Package contents")
    for package in job.result.ending(".deb", ".udeb"):
        job.log.subsection(package.name)
        # Inside: dpkg-deb reads what the build wrote, and not every machine has it.
        with job.part("package-contents", Status.ATTEMPTED):
            for what in ("--info", "--contents"):
                job.session.run("dpkg-deb", what, package.name, identity=job.session.builder, directory=job.place)
                job.log.line()


def _show_text(job: Job, path: Path) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file.read(dsc.TEXT_LIMIT).splitlines():
            job.log.line(printable(line))
