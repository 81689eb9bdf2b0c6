"""`cowbuild build --twice`: whether the second build, under other conditions, made the same."""

from __future__ import annotations

import filecmp
import os
import shutil
from contextlib import suppress
from pathlib import Path

from builder import hostile_tree
from builder.build import outputs
from builder.build.artifacts import Artifacts
from builder.build.job import Job
from builder.build.summary import StageFailed, Status
from builder.process import TimedOut, logged, shown

STAGE = "reproducible"

# They say when and from which files it was built, so they differ in any case.
NOT_COMPARED = (".changes", ".buildinfo")

_DIFFOSCOPE_WITHIN = 600.0


def compare(job: Job, second: Artifacts) -> None:
    """Say what differs. What the second build made otherwise, and how, is put beside the artifacts. StageFailed."""
    assert job.result is not None
    first = job.result
    names = differing(first, second)
    job.log.section("Comparison")
    if not names:
        job.log.line("Both builds made the same, byte by byte.")
        job.summary.fields["Reproducible"] = "pass"
        return
    job.log.line("Not the same, or made by one of the builds only:")
    for name in names:
        job.log.line(f"  {name}")
    job.summary.fields["Reproducible"] = f"fail: {' '.join(names)}"
    with job.part(STAGE, Status.FAILED):
        kept = _keep(job, second, names)
        job.log.line(f"What the second build made: {kept}")
        _explain(job, first, second, names)
    raise StageFailed(STAGE, Status.ATTEMPTED, f"Under other conditions the build makes another {names[0]}")


def differing(first: Artifacts, second: Artifacts) -> list[str]:
    """The names of the files that are not in both, byte by byte the same."""
    names = {name for name in (*first.names, *second.names) if not name.endswith(NOT_COMPARED)}
    common = names & set(first.names) & set(second.names)
    same, _, _ = filecmp.cmpfiles(first.directory, second.directory, common, shallow=False)
    return sorted(names - set(same))


def _keep(job: Job, second: Artifacts, names: list[str]) -> Path:
    """Put the second build's files of these names beside the artifacts, and say where. Problem."""
    wanted = job.options.output / f"{job.stem}.second"
    # Not there, or something else than what an earlier build left.
    with suppress(OSError), hostile_tree.directory(wanted, "") as place:
        there = hostile_tree.names(place)
        if all(second.made.fits(name) and hostile_tree.is_file(place, name) for name in there):
            for name in there:
                os.unlink(name, dir_fd=place)
            wanted.rmdir()
    kept = outputs.fresh_directory(wanted)
    outputs.put(second.directory, [name for name in names if name in second.names], kept)
    return kept


def _explain(job: Job, first: Artifacts, second: Artifacts, names: list[str]) -> None:
    if shutil.which("diffoscope") is None:
        job.log.line("Where diffoscope is installed, it is asked what the difference is.")
        return
    for name in names:
        if name not in first.names or name not in second.names:
            continue
        report = job.directory / f"{name}.diffoscope.html"
        command = ("diffoscope", "--html", report, first.directory / name, second.directory / name)
        try:
            code = logged(command, job.log, time_limit=_DIFFOSCOPE_WITHIN)
        except TimedOut as problem:
            job.log.line(f"E: {shown(command[:1])}: {problem}")
            continue
        if code != 1:  # it found the difference
            job.log.line(f"E: diffoscope failed with exit code {code}")
            continue
        text = report.read_text(encoding="utf-8", errors="replace")
        written = outputs.put_text(text, job.options.output / report.name, mark=b'content="diffoscope"')
        job.log.line(f"What differs: {written}")
