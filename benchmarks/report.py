"""Medians over rounds, as a table for people and as JSON for later comparison."""

import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

Rounds = dict[str, dict[str, list[float]]]
"""Figure -> candidate -> one value for each round."""


def add(rounds: Rounds, candidate: str, figures: dict[str, float]) -> None:
    for figure, value in figures.items():
        rounds.setdefault(figure, {}).setdefault(candidate, []).append(value)


def machine() -> dict[str, Any]:
    return {"kernel": platform.release(), "cpus": os.cpu_count(), "python": platform.python_version()}


def table(rounds: Rounds, reference: str) -> str:
    """One line for each figure; beside each median its ratio to the reference candidate's."""
    names = list(dict.fromkeys(name for by_candidate in rounds.values() for name in by_candidate))
    lines = [f"{'':<28}" + "".join(f"{name:>22}" for name in names)]
    for figure, by_candidate in rounds.items():
        base = statistics.median(by_candidate[reference]) if reference in by_candidate else 0.0
        cells = []
        for name in names:
            if name not in by_candidate:
                cells.append(f"{'-':>22}")
                continue
            median = statistics.median(by_candidate[name])
            ratio = f"({median / base:.2f})" if base else ""
            cells.append(f"{median:>13.2f} {ratio:>8}")
        lines.append(f"{figure:<28}" + "".join(cells))
    return "\n".join([*lines, f"in brackets: over {reference}"])


def save(path: Path, title: str, rounds: Rounds) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"title": title, "machine": machine(), "rounds": rounds}, indent=1) + "\n")
