"""`cowbuild build --twice` and `--vary`: whether the second build, under other conditions, made the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from builder.build import comparison, reports, trials, vary
from builder.build.artifacts import Artifacts
from builder.build.job import Job
from builder.build.summary import StageFailed, Status
from builder.build.trials import Attempt, Make
from builder.verdict.findings import Artifact, Findings, Verdict, trial_table

STAGE = "reproducible"


def compare(job: Job, done: Attempt, layers: Sequence[Path], make: Make) -> None:
    """Say what differs. What the second build made otherwise, and how, is put beside the artifacts. StageFailed."""
    assert job.result is not None
    job.second = done.directory
    job.log.section("Build again")
    names = vary.wanted(job.options)
    job.log.line(f"Varied: {' '.join(names)}")
    for note in (notes := vary.notes(job.options, job.build_architecture)):
        job.log.line(f"W: {note}")
    trials.copy_log(job, done)
    if done.failure is not None:
        job.summary.fields["Reproducible"] = "fail: the second build did not succeed"
        if not job.options.bisect:
            raise done.failure
    findings = Findings(job.title, varied=names, notes=notes)
    with job.part(STAGE, Status.FAILED):
        if done.made is not None:
            judge(job, done.made, findings, "Reproducible")
        if job.options.bisect and (done.failure is not None or not findings.reproduced):
            trials.bisect(job, layers, make, findings)
            _conclude(job, findings)
        reports.write(job, findings, "vary")
    if done.failure is not None:
        raise done.failure
    if not findings.reproduced:
        worst = next(each.name for each in findings.artifacts if each.verdict is not Verdict.REPRODUCED)
        raise StageFailed(STAGE, Status.ATTEMPTED, f"Under other conditions the build makes another {worst}")


def judge(job: Job, second: Artifacts, findings: Findings, field: str) -> None:
    """Say what a second build made otherwise, in `field` of the summary, too; put it beside the artifacts. Problem."""
    assert job.result is not None
    first = job.result
    names = comparison.differing(first, second)
    job.log.section("Comparison")
    if not names:
        job.log.line("Both builds made the same, byte by byte.")
        job.summary.fields[field] = "pass"
    else:
        job.log.line("Not the same, or made by one of the builds only:")
        for name in names:
            job.log.line(f"  {name}")
        job.summary.fields[field] = f"fail: {' '.join(names)}"
        theirs = [name for name in names if name in second.names]
        wanted = job.options.output / f"{job.stem}.second"
        job.log.line(f"What the second build made: {comparison.keep(second.directory, theirs, wanted, second.made)}")
    compared = {*first.names, *second.names}
    for name in sorted(name for name in compared if not name.endswith(comparison.NOT_COMPARED)):
        findings.artifacts.append(_artifact(job, first, second, name, differs=name in names))


def _artifact(job: Job, first: Artifacts, second: Artifacts, name: str, *, differs: bool) -> Artifact:
    there = first.directory / name if name in first.names else second.directory / name
    size, sha256 = there.stat().st_size, _digest(there)
    if not differs:
        return Artifact(name, Verdict.REPRODUCED, size, sha256, size, sha256)
    if name not in first.names or name not in second.names:
        return Artifact(name, Verdict.MISSING, size, sha256)
    made = second.directory / name
    return Artifact(
        *(name, Verdict.DIFFERENT, size, sha256, made.stat().st_size, _digest(made)),
        *comparison.explain(job, there, made),
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _conclude(job: Job, findings: Findings) -> None:
    job.log.section("Variations")
    for line in trial_table(findings.trials):
        job.log.line(line)
    job.log.line()
    for some in findings.sets:
        job.log.line(f"It depends on: {' with '.join(some)}")
    for note in findings.notes:
        job.log.line(note)
    told = "; ".join(" with ".join(some) for some in findings.sets)
    job.summary.fields["Depends-On"] = told or "nothing that was varied"
