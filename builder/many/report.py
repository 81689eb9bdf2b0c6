"""What became of many builds, for people and programs: a table, JSON, and a page with the logs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from builder.many.task import Entry
from builder.page.elements import Cell, Column, cards, filled, table, text
from builder.problems import Problem
from builder.screen import clock

FORMAT = 1


@dataclass(frozen=True)
class Build:
    """One build of a package, under some conditions."""

    conditions: str
    state: str
    exit_code: int
    tries: int
    seconds: float
    worker: str
    log: str
    """Its path from the report's directory; empty where there is none."""
    reason: str


@dataclass(frozen=True)
class Row:
    """A package, and what its builds say together."""

    package: str
    version: str
    verdict: str
    builds: tuple[Build, ...]


@dataclass(frozen=True)
class Report:
    """All of them; `kinds` says of each verdict whether it is good, bad or warn."""

    title: str
    kinds: Mapping[str, str]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def count(self, verdict: str) -> int:
        return sum(row.verdict == verdict for row in self.rows)


def build_of(entry: Entry, conditions: str, directory: Path) -> Build:
    log = os.path.relpath(entry.log, directory) if entry.log else ""
    return Build(
        conditions, entry.state, entry.exit_code, entry.tries, round(entry.seconds, 1), entry.worker, log, entry.reason
    )


def write(report: Report, directory: Path, stem: str) -> tuple[Path, Path]:
    """The JSON and the page in `directory`, each whole or as it was before. Problem."""
    told = {"format": FORMAT, **asdict(report)}
    written = (
        (directory / f"{stem}.json", json.dumps(told, indent=1) + "\n"),
        (directory / f"{stem}.html", page(report)),
    )
    for path, content in written:
        fresh = path.with_name(f".{path.name}.new")
        try:
            fresh.write_text(content, encoding="utf-8", errors="backslashreplace")
            fresh.replace(path)
        except OSError as error:
            raise Problem(f"Cannot write {path}: {error.strerror}") from None
    return written[0][0], written[1][0]


def lines(report: Report) -> list[str]:
    """For a terminal: what is not as good as it could be, and how many there are of each kind."""
    shown = [row for row in report.rows if report.kinds.get(row.verdict) != "good"]
    width = max((len(row.package) for row in shown), default=0)
    told = [
        f"{row.package:{width}}  {row.verdict:15} "
        + ", ".join(
            f"{each.conditions}: {each.state}" + (f" ({each.reason})" if each.reason else "") for each in row.builds
        )
        for row in shown
    ]
    counts = ", ".join(f"{report.count(verdict)} {verdict}" for verdict in report.kinds if report.count(verdict))
    many = "package" if len(report.rows) == 1 else "packages"
    return [*told, f"{len(report.rows)} {many}: {counts or 'none'}"]


def page(report: Report) -> str:
    shown: list[tuple[str, int | str, str]] = []
    for verdict, kind in report.kinds.items():
        count = report.count(verdict)
        shown.append((kind if count and kind != "warn" else "", count, verdict))
    return filled(
        "builder.many",
        title=text(report.title),
        cards=cards(shown),
        packages=_packages(report),
        notes=f"<ul>{''.join(f'<li>{text(each)}</li>' for each in report.notes)}</ul>" if report.notes else "",
    )


def _packages(report: Report) -> str:
    columns = [
        Column("name", "Package"),
        Column("version", "Version"),
        Column("verdict", "Verdict"),
        Column("builds", "Builds, logs"),
        Column("time", "Time", number=True),
        Column("worker", "Worker"),
    ]
    rows = [
        (
            Cell(f"<code>{text(row.package)}</code>"),
            Cell(f"<code>{text(row.version)}</code>"),
            Cell(f'<span class="{report.kinds.get(row.verdict, "")}">{text(row.verdict)}</span>'),
            Cell("<br>".join(_build(each) for each in row.builds)),
            Cell(clock(took := sum(each.seconds for each in row.builds)), int(took)),
            Cell(text(" ".join(sorted({each.worker for each in row.builds})))),
        )
        for row in report.rows
    ]
    return table("package", columns, rows)


def _build(build: Build) -> str:
    told = f"{text(build.conditions)}: {text(build.state)}"
    if build.tries > 1:
        told += f", {build.tries} tries"
    if build.log:
        told = f'<a href="{text(quote(build.log))}">{told}</a>'
    return told + (f" <span>{text(build.reason)}</span>" if build.reason else "")
