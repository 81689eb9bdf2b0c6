"""`cowbuild build --trace`: the build between two traces, and the report on it in the log, as JSON and as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from builder.build import outputs
from builder.build.job import Job
from builder.build.summary import Status
from builder.debian import base_facts, dpkg_database
from builder.debian.depends import WantedPackages
from builder.problems import printable
from builder.trace import page, usage
from builder.trace.usage import Usage, Used, UsedFile

_SHOWN = 20
"""Lines of a list in the log; the files have all."""


# What is in the first lines of each report.
MARKS = {"json": b'{\n "package": "', "html": b"<title>What "}


@contextmanager
def traced(job: Job, request: WantedPackages) -> Iterator[None]:
    """Report on what is used in here."""
    with job.part("trace", Status.FAILED):
        job.session.take_trace()
    yield
    with job.part("trace", Status.FAILED):
        trace = usage.read_trace(job.session.take_trace())
        database = dpkg_database.read(job.session.root, base_facts.architecture(job.options.base))
        found = usage.judge(trace, database, request, job.place)
        job.used = Used(found, database)
        job.log.section("Trace")
        for line in table(found, job.place):
            job.log.line(line)
        documents = {
            "json": json.dumps({"package": job.title, **usage.as_json(found)}, indent=1) + "\n",
            "html": page.page(job.title, found, job.place),
        }
        for ending, text in documents.items():
            wanted = job.options.output / f"{job.stem}.trace.{ending}"
            written = outputs.put_text(text, wanted, mark=MARKS[ending])
            job.log.line(f"Written: {written}")
        job.summary.fields["Trace"] = summary(found)


def summary(found: Usage) -> str:
    return (
        f"{len(found.unused)} of {len(found.dependencies)} build dependencies not used, "
        f"{len(found.undeclared)} undeclared packages used, {len(found.written)} files written outside"
    )


def table(found: Usage, build_place: str) -> list[str]:
    """The report for a terminal."""
    lines = ["Build dependencies:"]
    for each in found.dependencies:
        through = f": {', '.join(each.through)}" if each.through else ""
        lines.append(f"  {each.text:32} {each.verdict.value}{through}")
    lines += ["", "Used, although no build dependency brings it:"]
    for use in found.undeclared:
        lines.append(f"  {use.name:32} {_files(use.files)}")
    if not found.undeclared:
        lines.append("  nothing")
    lines += ["", f"Written outside of {build_place}:"]
    lines += [f"  {printable(file.path)}  ({', '.join(file.uses)})" for file in found.written[:_SHOWN]]
    lines += _rest(len(found.written))
    if not found.written:
        lines.append("  nothing")
    lines += ["", f"{'Package used':32} {'files':>6} {'run':>5} {'KiB read':>9}  why it is there"]
    used = [use for use in found.packages if use.files]
    for use in used[:_SHOWN]:
        numbers = f"{len(use.files):6} {use.executed:5} {use.size // 1024:9}"
        lines.append(f"{use.name:32} {numbers}  {use.reason.value}")
    lines += _rest(len(used))
    lines.append("")
    return lines


def _rest(count: int) -> list[str]:
    return [f"  and {count - _SHOWN} more"] if count > _SHOWN else []


def _files(files: Sequence[UsedFile]) -> str:
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{printable(files[0].path)} ({', '.join(files[0].uses)}){more}"
