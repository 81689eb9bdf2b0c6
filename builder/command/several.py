"""Several packages in one command: what `cowbuild build A B C` gives to those who run many builds."""

from __future__ import annotations

import argparse
import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder.command.conduct import Conduct, conduct, ledger_of
from builder.command.verb import Outside
from builder.problems import Misuse

if TYPE_CHECKING:
    from builder.build.job import BuildOptions
    from builder.many.sources import Source
    from builder.many.task import Task


def build_all(arguments: argparse.Namespace, outside: Outside, wanted: BuildOptions) -> int:
    """Build each package that is named; the worst of their exit codes.

    Each writes its own log and says here only how far it is. Misuse, Interrupted.
    """
    from builder.build.obtain import output_of

    here = wanted.output if arguments.output is not None else Path.cwd()
    names = _names(arguments.packages)
    outputs = [wanted.output if arguments.output is not None else output_of(each) for each in arguments.packages]
    tasks = [
        _task(name, at, package, outside.words, outputs[at])
        for at, (name, package) in enumerate(zip(names, arguments.packages, strict=True))
    ]
    notes: list[str] = []
    if arguments.order == "dependencies":
        tasks, notes = _in_order_of_dependencies(tasks, arguments, wanted)
    asked = shlex.join(word for word in _common_words(outside.words, arguments.packages))
    return conduct(tasks, Conduct.of(arguments, ledger_of(arguments, here), asked, notes))


def _names(packages: Sequence[str]) -> list[str]:
    names: list[str] = []
    for package in packages:
        if package in names:
            raise Misuse(f"{package} is named twice")
        names.append(package)
    return names


def _task(name: str, at: int, package: str, words: Sequence[str], output: Path) -> Task:
    from builder.many.task import Task

    path = Path(package)
    identity, source = "", path.stem if path.is_file() else package
    if path.is_file():
        with path.open("rb") as file:
            identity = hashlib.file_digest(file, "sha256").hexdigest()
    elif not path.is_dir():
        identity = package
    else:
        source = path.resolve().name
    return Task(
        name=name,
        words=["--only", str(at), *words],
        package=source.partition("_")[0],
        identity=identity,
        output=str(output),
    )


def _common_words(words: Sequence[str], packages: Sequence[str]) -> list[str]:
    """What decides on each build; how many there are, and how they are run, does not."""
    left: list[str] = []
    passed = False
    for word in words:
        if passed:
            passed = False
        elif word in ("--parallel", "--ledger", "--cluster", "--cluster-credentials"):
            passed = True
        elif word in ("--resume", "--retry-failed", "--no-retry-failed") or word in packages:
            continue
        elif not word.startswith(("--parallel=", "--ledger=", "--cluster=", "--cluster-credentials=")):
            left.append(word)
    return left


def _in_order_of_dependencies(
    tasks: Sequence[Task], arguments: argparse.Namespace, wanted: BuildOptions
) -> tuple[list[Task], list[str]]:
    """The tasks with what each needs of the others, and a sentence for each cycle."""
    from builder.debian import base_facts
    from builder.debian.depends import Choice
    from builder.many import order, sources

    choice = Choice(
        wanted.host or base_facts.architecture(wanted.base),
        wanted.build_any,
        wanted.build_all,
        frozenset(wanted.profiles),
    )
    known = {task.name: _source(package) for task, package in zip(tasks, arguments.packages, strict=True)}
    met, cycles = order.without_cycles(sources.needs(known, choice))
    notes = [
        f"These need each other, so the archive's packages are taken between them: {', '.join(each)}" for each in cycles
    ]
    return [replace(task, needs=met[task.name], package=known[task.name].name) for task in tasks], notes


def _source(package: str) -> Source:
    from builder.build.obtain import is_tree
    from builder.many import sources

    path = Path(package)
    if path.is_file():
        return sources.of_dsc(path)
    if is_tree(path):
        return sources.of_tree(path)
    raise Misuse(
        f"What {package} needs is not known before it is fetched", "--order dependencies takes .dsc files and trees."
    )
