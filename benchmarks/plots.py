"""The results as pictures: one for each part, and one at a glance."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.builders import BUILDERS
from benchmarks.candidates import CANDIDATES, REFERENCE
from benchmarks.results import Results
from benchmarks.workloads import whole_builds

OURS, DEVICE, ENGINE, KERNEL, OTHER = "#c0392b", "#d98880", "#e59866", "#34495e", "#95a5a6"
COLOURS = {
    "cowfs": OURS,
    "cowfs-device": DEVICE,
    "cowfs-pyfuse3": ENGINE,
    "overlayfs": KERNEL,
    "overlayfs-volatile": "#5d6d7e",
    "overlayfs-plain": "#85929e",
}

GLANCE_COLOURS = {
    "cowfs": OURS,
    "cowfs-device": DEVICE,
    "overlayfs-plain": COLOURS["overlayfs-plain"],
    "fuse-overlayfs": "#7f8c8d",
    "copy": "#d5dbdb",
}
GLANCE = {
    "build of hello": ("hello-j2", "tmpfs", "build, s"),
    "build of redis": ("redis-j2", "tmpfs", "build, s"),
    "apt-get install, on disk": ("install", "ext4", "apt-get install, s"),
    "untar of 20,000 files": ("source-tree", "tmpfs", "untar, s"),
    "remove of 20,000 files": ("source-tree", "tmpfs", "remove, s"),
    "git checkout": ("git", "tmpfs", "checkout, s"),
    "second walk of a base": ("walk", "ext4", "walk again, s"),
}
"""What is drawn at a glance -> part, setting and figure."""

plt.switch_backend("agg")
plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "cowfs"})


def draw(results: Results, directory: Path, reference: str) -> list[Path]:
    """A picture for each setting of a part."""
    drawn = []
    for setting, by_figure in results.values.items():
        name = results.name if len(results.values) == 1 else f"{results.name}-{setting}"
        path = directory / f"{name}.svg"
        if results.name == "growth":
            _lines_by_size(by_figure, path)
        elif results.name == "parallel":
            _lines_by_count(by_figure, path)
        else:
            _bars(by_figure, path, f"{results.title}, on {setting}", reference)
        drawn.append(path)
    return drawn


def _colour(candidate: str) -> str:
    return COLOURS.get(candidate, OTHER)


def _figures(by_figure: Mapping[str, Mapping[str, list[float]]]) -> list[str]:
    skipped = ("packages", "names", "requests", "processor of the build itself, s")
    return [figure for figure in by_figure if not figure.startswith(" ") and figure not in skipped]


def _save(path: Path) -> None:
    plt.tight_layout()
    plt.savefig(path, metadata={"Date": None})
    plt.close()


def _bars(by_figure: Mapping[str, Mapping[str, list[float]]], path: Path, title: str, reference: str) -> None:
    """A panel for each figure, a bar for each candidate: the median, with a line from the least to the most."""
    figures = _figures(by_figure)
    columns = min(4, len(figures))
    rows = -(-len(figures) // columns)
    tallest = max(len(by_figure[figure]) for figure in figures)
    _, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, rows * (0.9 + 0.22 * tallest)), squeeze=False)
    for axis in axes.flat[len(figures) :]:
        axis.axis("off")
    for axis, figure in zip(axes.flat, figures, strict=False):
        names = [name for name in (*CANDIDATES, *BUILDERS) if name in by_figure[figure]]
        values = [by_figure[figure][name] for name in names]
        medians = [statistics.median(each) for each in values]
        spans = [
            [middle - min(each) for middle, each in zip(medians, values, strict=True)],
            [max(each) - middle for middle, each in zip(medians, values, strict=True)],
        ]
        axis.barh(names, medians, xerr=spans, color=[_colour(name) for name in names], error_kw={"lw": 1})
        axis.invert_yaxis()
        axis.set_title(figure, fontsize=9)
        if min(medians) > 0 and max(medians) > 30 * min(medians):
            axis.set_xscale("log")
        if reference in names:
            axis.axvline(medians[names.index(reference)], color=KERNEL, lw=0.6, ls=":")
    plt.suptitle(title, fontsize=10)
    _save(path)


def _lines_by_size(by_figure: Mapping[str, Mapping[str, list[float]]], path: Path) -> None:
    """One panel for each figure, the number of files to the right, a line for each candidate."""
    panels: dict[str, dict[str, dict[int, float]]] = {}
    for figure in by_figure:
        size, _, what = figure.partition(": ")
        for name, values in by_figure[figure].items():
            panels.setdefault(what, {}).setdefault(name, {})[int(size)] = statistics.median(values)
    _, axes = plt.subplots(1, len(panels), figsize=(3 * len(panels), 2.8), squeeze=False)
    for axis, (what, lines) in zip(axes.flat, panels.items(), strict=True):
        for name, points in lines.items():
            axis.plot(list(points), list(points.values()), "o-", color=_colour(name), label=name)
        axis.set(xscale="log", yscale="log", title=what, xlabel="files in the base")
    axes.flat[0].legend()
    _save(path)


def _lines_by_count(by_figure: Mapping[str, Mapping[str, list[float]]], path: Path) -> None:
    plt.figure(figsize=(4.5, 3))
    counts = [int(figure.split()[0]) for figure in by_figure]
    for name in CANDIDATES:
        if all(name in values for values in by_figure.values()):
            medians = [statistics.median(values[name]) for values in by_figure.values()]
            plt.plot(counts, medians, "o-", color=_colour(name), label=name)
    plt.xticks(counts, [str(count) for count in counts])
    plt.ylim(bottom=0)
    plt.xlabel("sessions at once")
    plt.ylabel("s for each")
    plt.legend()
    _save(path)


def ratios(results: Mapping[str, Results], directory: Path) -> None:
    """How much longer than on the kernel's overlayfs what a builder does takes."""
    rows: dict[str, dict[str, float]] = {}
    for label, (part, setting, figure) in GLANCE.items():
        values = results[part].values.get(setting, {}).get(figure, {}) if part in results else {}
        if "cowfs" in values and REFERENCE in values:
            over = statistics.median(values[REFERENCE])
            rows[label] = {name: statistics.median(each) / over for name, each in values.items()}
    names = tuple(GLANCE_COLOURS)
    shown = [name for name in names if any(name in row for row in rows.values())]
    _, axis = plt.subplots(figsize=(7.5, 1 + 0.55 * len(rows)))
    height = 0.8 / max(1, len(shown))
    for place, name in enumerate(shown):
        # Where each row has its bar of this candidate.
        offset = (place + 0.5) * height - 0.4
        points = {row + offset: ratios[name] for row, ratios in enumerate(rows.values()) if name in ratios}
        axis.barh(list(points), list(points.values()), height, color=GLANCE_COLOURS[name], label=name)
        for at, ratio in points.items():
            axis.text(ratio * 1.03, at, f"{ratio:.2f}", va="center", fontsize=7)
    axis.axvline(1, color=KERNEL, lw=1)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    axis.minorticks_off()
    axis.set_xlabel("time over that on the kernel's overlayfs: 1 is as fast, to the left is faster")
    if shown:
        axis.legend(loc="best", fontsize=8)
    plt.tight_layout()
    plt.savefig(directory / "ratios.svg", metadata={"Date": None})
    plt.close()


def glance(results: Mapping[str, Results], directory: Path) -> None:
    """Whole builds, a panel for each package: seconds from the command to its end; as SVG, and as PNG for README."""
    if "whole-builds" not in results:
        return
    packages = results["whole-builds"].values
    _, axes = plt.subplots(1, len(packages), figsize=(3.9 * len(packages), 2.4), squeeze=False)
    for axis, (package, by_figure) in zip(axes.flat, packages.items(), strict=True):
        measured = by_figure[whole_builds.FIGURE]
        names = [name for name in BUILDERS if name in measured]
        seconds = [statistics.median(measured[name]) for name in names]
        colours = [OURS if name.startswith("cowbuild") else OTHER for name in names]
        shown = [f"{name}, {'as a user' if BUILDERS[name].plain else 'as root'}" for name in names]
        axis.barh(shown, seconds, color=colours)
        for place, value in enumerate(seconds):
            axis.text(value, place, f" {value:.0f}", va="center", fontsize=8)
        axis.invert_yaxis()
        axis.set_title(package, fontsize=9)
        axis.set_xlabel("s, from the command to its end")
    plt.tight_layout()
    for suffix in ("svg", "png"):
        plt.savefig(directory / f"glance.{suffix}", dpi=150, metadata={"Date": None} if suffix == "svg" else None)
    plt.close()
