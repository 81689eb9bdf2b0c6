"""What was found: a verdict for each artifact, and for each variation whether it matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum


class Verdict(Enum):
    REPRODUCED = "reproduced"
    DIFFERENT = "different"
    MISSING = "missing"
    """It was to be made, and was not."""


@dataclass(frozen=True)
class Artifact:
    """A file that was to be made, and what was made. Sizes in bytes; None of what was not made."""

    name: str
    verdict: Verdict
    size: int
    sha256: str
    made_size: int | None = None
    made_sha256: str | None = None
    explained: str = ""
    """The name of diffoscope's page on it, beside the report."""
    difference: str = ""
    """The first lines that diffoscope says of it."""


@dataclass(frozen=True)
class Trial:
    """A build under some of the variations, beside the first."""

    names: tuple[str, ...]
    files: tuple[str, ...] = ()
    """Those that differ from the first build's."""
    difference: str = ""
    failed: str = ""
    """Why it did not come to an end."""

    @property
    def differs(self) -> bool:
        return bool(self.files or self.failed)


@dataclass
class Findings:
    """All of it, of one package."""

    package: str
    artifacts: list[Artifact] = field(default_factory=list)
    more: list[str] = field(default_factory=list)
    """Packages that were installed beside those that were asked for, or files made beside them."""
    varied: tuple[str, ...] = ()
    trials: list[Trial] = field(default_factory=list)
    sets: list[tuple[str, ...]] = field(default_factory=list)
    """The smallest sets of variations that matter."""
    notes: list[str] = field(default_factory=list)

    @property
    def reproduced(self) -> bool:
        return all(each.verdict is Verdict.REPRODUCED for each in self.artifacts)

    def as_json(self) -> dict[str, object]:
        document = asdict(self)
        for artifact in document["artifacts"]:
            artifact["verdict"] = artifact["verdict"].value
        return {"package": document.pop("package"), "reproduced": self.reproduced, **document}


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of words as lines, one below the other."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def artifact_table(artifacts: Sequence[Artifact]) -> list[str]:
    rows = [("Artifact", "Verdict", "Size", "SHA-256")]
    for each in artifacts:
        rows.append((each.name, each.verdict.value, str(each.size), each.sha256))
        if each.verdict is Verdict.DIFFERENT:
            rows.append(("", "  made", str(each.made_size), each.made_sha256 or ""))
    return columns(rows)


def trial_table(trials: Sequence[Trial]) -> list[str]:
    """A line for each, and below it what diffoscope says first."""
    lines = []
    table = columns([("Variation", "Differs", "Files"), *(_row(each) for each in trials)])
    for each, line in zip([None, *trials], table, strict=True):
        lines.append(line)
        if each is not None:
            lines += [f"    {text}" for text in each.difference.splitlines()]
    return lines


def _row(trial: Trial) -> tuple[str, str, str]:
    answer = "failed" if trial.failed else "yes" if trial.files else "no"
    return " ".join(trial.names) or "none", answer, trial.failed or " ".join(trial.files)
