"""What was found as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from builder.page.elements import Cell, Column, cards, filled, table, text
from builder.verdict.findings import Artifact, Findings, Trial, Verdict

_KINDS = {Verdict.REPRODUCED: "good", Verdict.DIFFERENT: "bad", Verdict.MISSING: "warn"}


def page(findings: Findings) -> str:
    return filled(
        "builder.verdict",
        title=f"Whether {text(findings.package)} is reproducible",
        answer=text(_answer(findings)),
        cards=_cards(findings),
        artifacts=_artifacts(findings.artifacts),
        varied=text(_varied(findings)),
        trials=_trials(findings.trials) if findings.trials else "",
        more=_list([*findings.notes, *findings.more]),
    )


def _answer(findings: Findings) -> str:
    if not findings.artifacts:
        return "The second build made nothing."
    if findings.reproduced:
        return "It is: everything was made again, byte by byte."
    return "It is not: not everything was made again, byte by byte."


def _varied(findings: Findings) -> str:
    if not findings.varied:
        return "Nothing was varied."
    told = f"Varied: {', '.join(findings.varied)}."
    if findings.sets:
        told += f" It depends on: {'; '.join(' with '.join(some) for some in findings.sets)}."
    return told


def _cards(findings: Findings) -> str:
    counts = {kind: sum(each.verdict is kind for each in findings.artifacts) for kind in Verdict}
    shown: list[tuple[str, int | str, str]] = [
        ("good" if kind is Verdict.REPRODUCED else "bad" if count else "", count, kind.value)
        for kind, count in counts.items()
    ]
    if findings.trials:
        shown.append(("bad" if findings.sets else "", len(findings.sets), "smallest sets of variations that matter"))
    return cards(shown)


def _artifacts(artifacts: Sequence[Artifact]) -> str:
    columns = [
        Column("name", "Artifact"),
        Column("verdict", "Verdict"),
        Column("size", "Bytes", number=True),
        Column("sha256", "SHA-256"),
    ]
    rows = [
        (
            Cell(f"<code>{text(each.name)}</code>"),
            Cell(_verdict(each)),
            Cell(str(each.size), each.size),
            Cell(f"<code>{text(each.sha256)}</code>{_made(each)}"),
        )
        for each in artifacts
    ]
    return table("artifact", columns, rows)


def _verdict(artifact: Artifact) -> str:
    word = f'<span class="{_KINDS[artifact.verdict]}">{artifact.verdict.value}</span>'
    if artifact.explained:
        word += f' (<a href="{text(quote(artifact.explained))}">what differs</a>)'
    return word


def _made(artifact: Artifact) -> str:
    if artifact.verdict is not Verdict.DIFFERENT:
        return ""
    made = f"<br>made: <code>{text(artifact.made_sha256 or '')}</code>, {artifact.made_size} bytes"
    return made + _folded("what diffoscope says first", artifact.difference)


def _trials(trials: Sequence[Trial]) -> str:
    columns = [Column("names", "Variation"), Column("differs", "Differs"), Column("files", "Files")]
    rows = [
        (
            Cell(text(" ".join(each.names) or "none")),
            Cell(f'<span class="bad">{"failed" if each.failed else "yes"}</span>' if each.differs else "no"),
            Cell(text(each.failed or " ".join(each.files)) + _folded("how", each.difference)),
        )
        for each in trials
    ]
    return table("trial", columns, rows)


def _folded(title: str, content: str) -> str:
    if not content:
        return ""
    lines = "\n".join(text(line) for line in content.splitlines())
    return f"<details><summary>{title}</summary><pre>{lines}</pre></details>"


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>" if lines else "<p>Nothing.</p>"
