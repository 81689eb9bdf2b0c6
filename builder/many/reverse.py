"""The reverse build dependencies of packages, and what building them with new packages and without tells."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random

from builder.debian.archive_lists import ArchiveLists, ListedSource
from builder.debian.depends import Choice, packages_in, requested
from builder.many.task import Entry, State
from builder.problems import Misuse, Problem

WITHOUT = " without"
"""Behind the name of a build that has not the new packages."""


class Verdict(StrEnum):
    """What became of a package with the new packages, as against without."""

    FINE = "fine"
    FLAKY = "flaky"
    FIXED = "fixed"
    BROKEN_BEFORE = "broken before"
    REGRESSION = "regression"
    UNKNOWN = "unknown"
    """It was not built with them, and nothing tells how it is without."""


@dataclass(frozen=True)
class Wanted:
    """Which of the reverse build dependencies are wanted."""

    transitive: bool = False
    limit: int | None = None
    seed: int = 0
    popularity: Mapping[str, int] | None = None
    """Rank by package, 1 the best known; None for some at random."""


def reverse_dependencies(
    lists: ArchiveLists, packages: Collection[str], own: str, choice: Choice, wanted: Wanted
) -> list[ListedSource]:
    """The sources that need one of `packages` to be built, but for the one that is called `own`. Problem."""
    if wanted.transitive:
        found = lists.depending_at_last(packages)
    else:
        names = lists.provided_by(packages)
        found = [each for each in lists.depending_on(names) if _needs(each, names, choice)]
    found = [each for each in found if each.name != own and each.builds_on(choice.architecture)]
    return limited(found, wanted)


def limited(found: Sequence[ListedSource], wanted: Wanted) -> list[ListedSource]:
    """At most so many, the most popular or any; in the order of their names."""
    chosen = list(found)
    if wanted.limit is not None and len(chosen) > wanted.limit:
        if wanted.popularity is None:
            chosen = Random(wanted.seed).sample(chosen, wanted.limit)
        else:
            ranks = wanted.popularity
            chosen.sort(key=lambda each: min((ranks.get(name, len(ranks) + 1) for name in each.binaries), default=0))
            del chosen[wanted.limit :]
    return sorted(chosen, key=lambda each: each.name)


def _needs(source: ListedSource, names: Collection[str], choice: Choice) -> bool:
    """Whether one of the names is in the relations that hold here; where they cannot be understood, it is."""
    try:
        return not packages_in(requested(source, choice).depends).isdisjoint(names)
    except Problem:
        return True


def read_popularity(path: Path) -> dict[str, int]:
    """Package -> rank, of a file as Debian's popularity contest has them (by_inst, by_vote). Misuse."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise Misuse(f"Cannot read {path}: {error.strerror}") from None
    ranks = {}
    for line in lines:
        rank, *more = line.split() or [""]
        if more and rank.isascii() and rank.isdigit():
            ranks[more[0]] = int(rank)
    if not ranks:
        raise Misuse(f"{path} names no package behind its rank", "popularity-contest's by_inst has such lines.")
    return ranks


def verdicts(entries: Sequence[Entry]) -> dict[str, Verdict]:
    """Name of a build with the new packages -> what it and the one without tell."""
    known = {entry.task.name: entry for entry in entries}
    return {
        name: _verdict(entry, known.get(name + WITHOUT)) for name, entry in known.items() if not name.endswith(WITHOUT)
    }


def _verdict(entry: Entry, without: Entry | None) -> Verdict:
    if entry.built:
        if without is not None and without.ended and not without.built:
            return Verdict.FIXED
        return Verdict.FLAKY if entry.state is State.FLAKY else Verdict.FINE
    if without is None or not entry.ended or not without.ended:
        return Verdict.UNKNOWN
    return Verdict.REGRESSION if without.built else Verdict.BROKEN_BEFORE
