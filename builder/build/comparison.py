"""Two builds' artifacts side by side: which differ, and what diffoscope says of them."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from builder import hostile_tree
from builder.build import outputs
from builder.build.artifacts import Artifacts
from builder.build.job import Job
from builder.build.outputs import Names
from builder.problems import Problem, printable
from builder.process import TimedOut, logged, shown

# They say when and from which files it was built, so they differ in any case.
NOT_COMPARED = (".changes", ".buildinfo")

_DIFFOSCOPE_WITHIN = 600.0
_LINES, _WIDTH = 12, 160
"""Of what diffoscope says, for a table."""
_AS_TEXT = ("--no-progress", "--max-text-report-size", "20000", "--text")


def differing(first: Artifacts, second: Artifacts) -> list[str]:
    """The names of the files that are not in both, byte by byte the same."""
    names = {name for name in (*first.names, *second.names) if not name.endswith(NOT_COMPARED)}
    common = names & set(first.names) & set(second.names)
    same, _, _ = filecmp.cmpfiles(first.directory, second.directory, common, shallow=False)
    return sorted(names - set(same))


def keep(directory: Path, names: list[str], wanted: Path, made: Names) -> Path:
    """Put files into a directory of that name, which an earlier build may have left, and say where. Problem."""
    # Not there, or something else than what an earlier build left.
    with suppress(OSError), hostile_tree.directory(wanted, "") as place:
        there = hostile_tree.names(place)
        if all(made.fits(name) and hostile_tree.is_file(place, name) for name in there):
            for name in there:
                os.unlink(name, dir_fd=place)
            wanted.rmdir()
    kept = outputs.fresh_directory(wanted)
    outputs.put(directory, names, kept)
    return kept


def explain(job: Job, first: Path, second: Path) -> tuple[str, str]:
    """Put diffoscope's page on two files beside the artifacts; its name and first lines, empty without it. Problem."""
    if shutil.which("diffoscope") is None:
        job.log.line("Where diffoscope is installed, it is asked what the difference is.")
        return "", ""
    report, lines = (job.directory / f"{first.name}.diffoscope.{ending}" for ending in ("html", "txt"))
    command = ("diffoscope", "--html", report, *_AS_TEXT, lines, first, second)
    try:
        code = logged(command, job.log, time_limit=_DIFFOSCOPE_WITHIN)
    except TimedOut as problem:
        job.log.line(f"E: {shown(command[:1])}: {problem}")
        return "", ""
    if code != 1:  # it found the difference
        job.log.line(f"E: diffoscope failed with exit code {code}")
        return "", ""
    text = report.read_text(encoding="utf-8", errors="replace")
    written = outputs.put_text(text, job.options.output / report.name, mark=b'content="diffoscope"')
    job.log.line(f"What differs: {written}")
    return written.name, _telling(lines.read_text(encoding="utf-8", errors="replace"))


def first_lines(first: Path, second: Path) -> str:
    """What diffoscope says first of two files; nothing where it is not installed. Problem."""
    command = ("diffoscope", *_AS_TEXT, "-", first, second)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_DIFFOSCOPE_WITHIN,
            check=False,
        )
    except FileNotFoundError:
        return ""
    except subprocess.TimeoutExpired:
        return f"diffoscope: not finished after {_DIFFOSCOPE_WITHIN:.0f} seconds"
    except OSError as error:
        raise Problem(f"diffoscope cannot be run: {error.strerror}") from None
    return _telling(done.stdout.decode(errors="replace"))


def _telling(text: str) -> str:
    """Of diffoscope's text where it found what, and the lines that differ; not sizes and times of parts of archives."""
    found, told = [], True
    for line in text.splitlines()[2:]:
        words = line.lstrip("│ ")
        if words.startswith("├"):
            told = not words.endswith(" file list")
        if told and words.startswith(("+", "-", "├")):
            found.append(printable(line.strip())[:_WIDTH])
    return "\n".join(found[:_LINES])
