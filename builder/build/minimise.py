"""`cowbuild build --trace --minimise`: which of the unused build dependencies can go, proved by builds without them."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from builder.build import comparison, resolvers, trials
from builder.build.job import Job
from builder.build.trials import Make
from builder.debian.depends import names_of
from builder.problems import printable
from builder.trace import usage

FIELD = "Minimised"
FIELDS = ("Build-Depends", "Build-Depends-Arch", "Build-Depends-Indep")


def minimise(job: Job, make: Make) -> None:
    """Say which build dependencies suffice for the artifacts that were made. `make` installs them, too."""
    assert job.used is not None
    log = job.log
    log.section("Minimise")
    request = resolvers.wanted(job)
    unused = [each.text for each in job.used.usage.unused]
    brought = usage.brought_by_others(job.used.installed, request, unused)
    for text in brought:
        log.line(f"{text} stays: what is used needs it")
    candidates = [text for text in unused if text not in brought]
    left_out = removable(candidates, lambda some: _makes_the_same(job, some, make))
    for text in usage.brought_by_others(job.used.installed, request, left_out):
        # It was there in the builds without it.
        log.line(f"{text} stays: what stays needs it")
        left_out.remove(text)
    total = len(job.used.usage.dependencies)
    told = f"{len(left_out)} of {total} build dependencies can be left out"
    job.summary.fields[FIELD] = f"{told}: {', '.join(left_out)}" if left_out else told
    log.line(f"{told}{':' if left_out else ''}")
    for text in left_out:
        log.line(f"  {text}")
    log.line("These suffice:")
    for name in FIELDS:
        if field := job.source.relations.get(name, ""):
            log.line(f"{name}: {', '.join(without(field, left_out))}")


def removable(candidates: Sequence[str], same: Callable[[Sequence[str]], bool]) -> list[str]:
    """Those of the candidates without which, all together, the same is made; a group that matters is halved.

    `same` is a build, asked first whether all can go; then whether anything is proved: without nothing it must hold.
    It is asked nothing twice.
    """
    known: dict[frozenset[str], bool] = {}
    left_out: list[str] = []

    def holds(some: Sequence[str]) -> bool:
        key = frozenset(some)
        if key not in known:
            known[key] = same(some)
        return known[key]

    if candidates and not holds(candidates) and not holds(()):
        return []
    waiting = [list(candidates)] if candidates else []
    while waiting:
        group = waiting.pop()
        if holds([*left_out, *group]):
            left_out += group
        elif len(group) > 1:
            half = len(group) // 2
            waiting += [group[half:], group[:half]]
    return left_out


def without(field: str, left_out: Collection[str]) -> list[str]:
    """The relations of a field but for those."""
    groups = [" ".join(group.split()) for group in field.split(",")]
    return [printable(group) for group in groups if group and names_of(group) not in left_out]


def _makes_the_same(job: Job, some: Sequence[str], make: Make) -> bool:
    assert job.result is not None
    reduced = copy.copy(job)
    reduced.left_out = frozenset(some)
    # dpkg-buildpackage would miss what is left out.
    reduced.options = replace(job.options, debbuild_options=(*job.options.debbuild_options, "-d"))
    done = trials.attempt(reduced, (), (), make)
    told = f"Without {', '.join(some) or 'nothing, again'}"
    try:
        if done.made is None:
            job.log.line(f"{told}: no build, {done.failure}")
            return False
        files = comparison.differing(job.result, done.made)
        job.log.line(f"{told}: {f'another {chr(32).join(files)}' if files else 'the same'}")
        return not files
    finally:
        shutil.rmtree(done.directory)
