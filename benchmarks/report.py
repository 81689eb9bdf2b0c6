"""Makes tables and plots of the results, again at any time: README.md and SVG files beside the JSON files.

python -m benchmarks.report [--results DIRECTORY]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks import plots, targets
from benchmarks.builders import BUILDERS
from benchmarks.candidates import CANDIDATES, REFERENCE
from benchmarks.results import DIRECTORY, Results, load
from benchmarks.run import GUEST_PARTS, PARTS

PICTURES = ("![at a glance](glance.svg)", "", "![over overlayfs](ratios.svg)", "")

GUEST_REFERENCE = "copy"
"""In the guest all is compared with its own plain ext4."""


def spread(values: list[float]) -> str:
    """Median, and the least and most where there are several."""
    median = number(statistics.median(values))
    least, most = number(min(values)), number(max(values))
    return median if least == most else f"{median} ({least} - {most})"


def number(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(by_figure: dict[str, dict[str, list[float]]], reference: str) -> list[str]:
    """Rows are candidates where figures are few, else figures. In each cell the ratio to the reference follows."""
    figures = [figure for figure in by_figure if not figure.startswith(" ")]
    candidates = [name for name in (*CANDIDATES, *BUILDERS) if any(name in by_figure[figure] for figure in figures)]

    def cell(figure: str, candidate: str) -> str:
        values = by_figure[figure]
        if candidate not in values:
            return "-"
        shown = spread(values[candidate])
        over = statistics.median(values[reference]) if reference in values else 0.0
        if candidate == reference or not over:
            return shown
        return f"{shown} **x{statistics.median(values[candidate]) / over:.2f}**"

    if len(figures) <= 6:
        rows, columns, cells = candidates, figures, [[cell(f, c) for f in figures] for c in candidates]
    else:
        rows, columns, cells = figures, candidates, [[cell(f, c) for c in candidates] for f in figures]
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return lines + [f"| {row} | " + " | ".join(line) + " |" for row, line in zip(rows, cells, strict=True)]


def section(results: Results, reference: str) -> list[str]:
    machine = results.machine
    lines = [f"## {results.title}", ""]
    rounds = max((len(v) for s in results.values.values() for f in s.values() for v in f.values()), default=0)
    details = "; ".join(f"{name} {value}" for name, value in results.details.items() if not isinstance(value, dict))
    measured = f"{rounds} rounds in {results.seconds:.0f} s, commit {machine['commit']}"
    lines += [f"{results.name}.json: {measured}. {details}".rstrip(), ""]
    for setting, by_figure in results.values.items():
        lines += [f"On {setting}:", "", *table(by_figure, reference), ""]
    left_out = [
        f"- {candidate} on {setting}: {reason}"
        for setting, reasons in results.left_out.items()
        for candidate, reason in reasons.items()
    ]
    return lines + (["Left out:", "", *left_out, ""] if left_out else [])


def needs_table() -> list[str]:
    lines = ["| candidate | rights | set up by an administrator | file system |", "|---|---|---|---|"]
    for candidate in CANDIDATES.values():
        needs = candidate.needs
        lines.append(f"| {candidate.name} | {needs.rights} | {needs.setup} | {needs.file_system} |")
    return lines


def machine_lines(machine: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    host = machine.get("host")
    on = f" In a guest on {host['processors']} x {host['processor']}, Linux {host['kernel']}." if host else ""
    where = f"{machine['processors']} x {machine['processor']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}"
    ring = " FUSE over io_uring is switched on, and cowfs uses it." if machine.get("fuse_over_io_uring") else ""
    return [f"{where}, {machine['date']}.{ring}{on}", "", f"Versions: {versions}.", ""]


def loaded(directory: Path, order: Iterable[str]) -> dict[str, Results]:
    found = {path.stem: load(path) for path in directory.glob("*.json")}
    return {name: found[name] for name in order if name in found}


def write(directory: Path) -> Path:
    """The report of all results in the directory, and of a guest's in its directory `vm`."""
    host, guest = loaded(directory, PARTS), loaded(directory / "vm", GUEST_PARTS)
    lines = [
        "# Results",
        "",
        "Made by `python -m benchmarks.report`; how all was measured is in docs/benchmarks.md. Medians, the least and",
        f"the most of all rounds in brackets, and **x** the ratio to {REFERENCE}'s median.",
        "",
    ]
    for one in list(host.values())[:1]:
        lines += machine_lines(one.machine)
    lines += [*PICTURES, "## What each needs", "", *needs_table(), ""]
    lines += ["## Targets", "", "In bold what is missed.", "", *targets.table(host), ""]
    for name, results in host.items():
        lines += section(results, REFERENCE)
        for plot in plots.draw(results, directory, REFERENCE):
            lines += [f"![{name}]({plot.relative_to(directory)})", ""]
    if guest:
        lines += ["# In a guest: LVM beside the others", ""]
        lines += [
            f"**x** is the ratio to plain ext4 in the same guest (`{GUEST_REFERENCE}`). The guest is User-Mode Linux:",
            "a system call costs more in it, and a round trip to a FUSE daemon several times more than on the machine,",
            "so cowfs and fuse-overlayfs look slower here than they are.",
            "",
        ]
        for one in list(guest.values())[:1]:
            lines += machine_lines(one.machine)
        for results in guest.values():
            lines += section(results, GUEST_REFERENCE)
            for plot in plots.draw(results, directory / "vm", GUEST_REFERENCE):
                lines += [f"![{results.name} in a guest]({plot.relative_to(directory)})", ""]
    plots.glance(host, directory)
    plots.ratios(host, directory)
    path = directory / "README.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=DIRECTORY)
    options = parser.parse_args()
    if not any(options.results.glob("*.json")):
        parser.error(f"no results in {options.results}: make bench measures some")
    print(write(options.results))


if __name__ == "__main__":
    main()
