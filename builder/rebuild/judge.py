"""The verdict: what a .buildinfo says that was made, beside what was made now."""

from __future__ import annotations

import hashlib
from pathlib import Path

from builder import hostile_tree
from builder.build import comparison, reports
from builder.build.job import Job
from builder.build.outputs import Names
from builder.build.summary import Status
from builder.debian.dsc import ListedFile
from builder.problems import Problem
from builder.rebuild import places
from builder.rebuild.buildinfo import Binary, Record
from builder.rebuild.snapshot import Snapshot
from builder.verdict.findings import Artifact, Findings, Verdict, artifact_table

STAGE = "reproducible"


def judge(job: Job, record: Record, snapshot: Snapshot | None, findings: Findings) -> None:
    """Compare every artifact; say it in the log, as JSON and as a page. What differs is kept from both sides."""
    assert job.result is not None
    job.log.section("Comparison")
    listed = {each.name for each in record.artifacts}
    others = [name for name in job.result.names if name not in listed and not name.endswith(comparison.NOT_COMPARED)]
    findings.more += [f"made, and not in {record.path.name}: {name}" for name in others]
    originals = job.directory / "originals"
    originals.mkdir()
    with job.part(STAGE, Status.FAILED):
        findings.artifacts += [_artifact(job, record, each, snapshot, originals) for each in record.artifacts]
        if kept := sorted(path.name for path in originals.iterdir()):
            made = Names(record.source, record.version)
            where = comparison.keep(originals, kept, job.options.output / "original", made)
            job.log.line(f"What was made then: {where}")
        for line in artifact_table(findings.artifacts):
            job.log.line(line)
        reports.write(job, findings, "rebuild")
    wrong = [
        f"{each.name} {each.verdict.value}" for each in findings.artifacts if each.verdict is not Verdict.REPRODUCED
    ]
    job.summary.fields["Rebuild"] = ", ".join(wrong) or "reproduced"


def _artifact(job: Job, record: Record, listed: ListedFile, snapshot: Snapshot | None, originals: Path) -> Artifact:
    assert job.result is not None
    if listed.name not in job.result.names:
        return Artifact(listed.name, Verdict.MISSING, listed.size, listed.sha256)
    made = job.result.directory / listed.name
    with made.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = made.stat().st_size
    if (size, sha256) == (listed.size, listed.sha256):
        return Artifact(listed.name, Verdict.REPRODUCED, listed.size, listed.sha256, size, sha256)
    explained = difference = ""
    if _original(record, listed, snapshot, originals, job):
        explained, difference = comparison.explain(job, originals / listed.name, made)
    return Artifact(listed.name, Verdict.DIFFERENT, listed.size, listed.sha256, size, sha256, explained, difference)


def _original(record: Record, listed: ListedFile, snapshot: Snapshot | None, originals: Path, job: Job) -> bool:
    """Whether the file that was made then was brought to `originals`: from beside the .buildinfo, or a snapshot."""
    target = originals / listed.name
    tried = []
    for bring in (_beside, _fetched):
        try:
            source = bring(record, listed, snapshot, job)
            if hostile_tree.copy_file(source, target, listed.size) == (listed.size, listed.sha256):
                return True
            tried.append(f"{source} is another file")
        except (Problem, OSError) as problem:
            tried.append(str(problem))
        target.unlink(missing_ok=True)
    job.log.line(f"{listed.name}: what was made then is not to be had, so the difference cannot be shown")
    for each in tried:
        job.log.line(f"   {each}")
    return False


def _beside(record: Record, listed: ListedFile, _snapshot: Snapshot | None, _job: Job) -> Path:
    return record.path.parent / listed.name


def _fetched(record: Record, listed: ListedFile, snapshot: Snapshot | None, job: Job) -> Path:
    name, _, rest = listed.name.removesuffix(".deb").partition("_")
    version, _, architecture = rest.partition("_")
    if snapshot is None or not listed.name.endswith(".deb") or not architecture:
        raise Problem("no snapshot service was named (--snapshot URL), or it is no package")
    if version == (record.version.partition(":")[2] or record.version):
        version = record.version
    directory = job.directory / "originals.fetched"
    directory.mkdir(exist_ok=True)
    return places.package(Binary(name, architecture, version), directory, snapshot, job.log.line)
