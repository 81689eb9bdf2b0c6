"""A rebuild: a build whose options, root and judgement come from a .buildinfo."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from builder import hostile_tree
from builder.build import stages
from builder.build.binnmu import Rebuild
from builder.build.job import BuildOptions, Job
from builder.build.purpose import Purpose
from builder.build.summary import StageFailed, Status
from builder.debian import base_facts, dsc
from builder.problems import Problem, Unobtainable, printable
from builder.rebuild import exact_root, places
from builder.rebuild.buildinfo import Record
from builder.rebuild.judge import STAGE, judge
from builder.rebuild.snapshot import Snapshot
from builder.verdict.findings import Findings, Verdict


@dataclass(frozen=True)
class RebuildRequest:
    """What `cowbuild rebuild` is asked for beside the build's own options."""

    record: Record
    snapshot: str | None = None

    def service(self, say: Callable[[str], None]) -> Snapshot | None:
        """The snapshot service, where one was named; `say` is told what takes long."""
        return None if self.snapshot is None else Snapshot(self.snapshot, say)


def options_of(record: Record, given: BuildOptions) -> BuildOptions:
    """The build's options, as the record has them. Problem where it does not tell enough."""
    kinds = set(record.architectures)
    rebuild = Rebuild()
    if record.binary_only:
        if not record.changelog:
            raise Problem(f"{record.path} is of a binNMU, and has no Binary-Only-Changes: its changelog is not known")
        rebuild = Rebuild(whole_entry=record.changelog)
    place, _, tree = record.build_path.rpartition("/")
    # Where it does not say so, it is not set: LC_ALL would decide in place of what is recorded.
    environment = {"LC_ALL": "", "LANG": "", **record.environment}
    return replace(
        given,
        host=None if record.host_architecture == record.build_architecture else record.host_architecture,
        build_any=bool(kinds - {"all", "source"}),
        build_all="all" in kinds,
        build_source="source" in kinds,
        profiles=tuple(record.environment.get("DEB_BUILD_PROFILES", "").split()),
        build_place=place or given.build_place,
        source_directory=tree or None,
        # What is recorded is all of it.
        jobs=None if "DEB_BUILD_OPTIONS" in environment else given.jobs,
        rebuild=rebuild,
        environment=environment,
    )


def stem(record: Record) -> str:
    """What the names of a rebuild's files begin with."""
    return record.path.name.removesuffix(".buildinfo")


def rebuild(request: RebuildRequest, given: BuildOptions, directories: Sequence[Path]) -> int:
    """Rebuild, and judge; sbuild's exit code. Problem, Unobtainable before the log begins."""
    record = request.record
    suite = base_facts.code_name(given.base)
    found = places.source(record, directories[0] / "given", suite, request.service(_say), _say)
    source = dsc.read(found)
    if (source.name, source.version) != (record.source, record.source_version):
        raise Unobtainable(
            f"{found} is of {source.name} {source.version}, not of {record.source} {record.source_version}",
            "Move it away, and the source is looked for elsewhere.",
        )
    output = given.output / f"{stem(record)}.rebuild"
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        raise Problem(f"Cannot make {output}: {error.strerror}") from None
    options = options_of(record, replace(given, dsc=found, output=output))

    def run(job: Job) -> None:
        job.layer_directory = directories[-1]
        findings = Findings(job.title)
        snapshot = request.service(job.log.line)
        purpose = Purpose(
            root=lambda job: exact_root.layers(job, record, snapshot, lambda: stages.fetch_source(job)),
            look=lambda job: _look(job, record, findings),
            judge=lambda job: judge(job, record, snapshot, findings),
        )
        stages.run_stages(job, purpose)
        if not findings.reproduced:
            worst = next(each for each in findings.artifacts if each.verdict is not Verdict.REPRODUCED)
            raise StageFailed(STAGE, Status.ATTEMPTED, f"{worst.name} is {worst.verdict.value}")

    return stages.build(options, directories, stages=run)


def _say(line: str) -> None:
    """While there is no log yet."""
    print(line, flush=True)


def _look(job: Job, record: Record, findings: Findings) -> None:
    """Say what the record is worth, and what the session has more than it names; take its vendor."""
    job.log.section("Buildinfo")
    job.log.line(f"{record.path.name}: {record.signature}")
    with job.part("install-deps", Status.GIVEN_BACK):
        more = exact_root.additional(record, exact_root.installed(job.session.root))
    job.log.line(f"All {len(record.installed)} packages are installed in their versions; {len(more)} more are there:")
    for each in more:
        job.log.line(f"  {printable(str(each))}")
    findings.more += [f"installed, and not in {record.path.name}: {each}" for each in more]
    vendor = record.vendor.lower()
    if vendor and vendor != _vendor_of(job.session.root):
        job.log.line(f"Vendor: {record.vendor}")
        job.options = replace(job.options, environment={**(job.options.environment or {}), "DEB_VENDOR": vendor})


def _vendor_of(root: Path) -> str:
    """As dpkg takes it: what the link leads to."""
    with suppress(OSError), hostile_tree.directory(root, "etc/dpkg/origins") as place:
        return os.path.basename(os.readlink("default", dir_fd=place))
    return ""
