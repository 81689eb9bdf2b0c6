"""The variations of `cowbuild build --vary`: what a build may see otherwise the second time, by reprotest's names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from builder import hostile_tree
from builder.build.job import BuildOptions, Job
from builder.debian import architectures
from builder.problems import Misuse, Problem
from builder.session.sandbox import Identity
from builder.session.surroundings import USUAL, VARIABLES, Surroundings

DAYS = 213
SECOND_BUILDER = Identity(uid=60997, gid=60996)

SORTED = ("--readdir-order", "sorted")
REVERSED = ("--readdir-order", "reverse")

Change = Callable[[Surroundings, BuildOptions], Surroundings]


@dataclass(frozen=True)
class Variation:
    """One of them, and what the second build has otherwise."""

    help: str
    change: Change


def _set(**changed: object) -> Change:
    return lambda seen, _options: replace(seen, **changed)  # type: ignore[arg-type]


def _variables(**changed: str) -> Change:
    return lambda seen, _options: replace(seen, variables={**seen.variables, **changed})


def _started_with(*words: str) -> Change:
    return lambda seen, _options: replace(seen, started_with=(*seen.started_with, *words))


def _conditions(*words: str) -> Change:
    return lambda seen, _options: replace(seen, conditions=(*seen.conditions, *words))


def _reversed(seen: Surroundings, _options: BuildOptions) -> Surroundings:
    others = seen.conditions[2:] if seen.conditions[:2] == SORTED else seen.conditions
    return replace(seen, conditions=(*REVERSED, *others))


def _one_processor(seen: Surroundings, _options: BuildOptions) -> Surroundings:
    first = str(min(os.sched_getaffinity(0)))
    return replace(seen, jobs=1, started_with=(*seen.started_with, "taskset", "--cpu-list", first))


def _elsewhere(seen: Surroundings, options: BuildOptions) -> Surroundings:
    return replace(seen, place=f"{options.build_place}-2/deeper")


VARIATIONS: Mapping[str, Variation] = {
    "aslr": Variation("addresses are not random", _started_with("setarch", "--addr-no-randomize")),
    "blocks": Variation("8 blocks more for each file", _conditions("--pad-blocks", "8")),
    "build_path": Variation("another directory", _elsewhere),
    "domain_host": Variation(
        "names of host and domain", _set(host_name="i-capture-the-hostname", domain="i-capture-the-domain")
    ),
    "environment": Variation("one variable more", _variables(CAPTURE_ENVIRONMENT="I capture the environment")),
    "exec_path": Variation("PATH has one part more", _variables(PATH=f"{VARIABLES['PATH']}:/i_capture_the_path")),
    "fileordering": Variation("directories are listed in reverse", _reversed),
    "home": Variation("another HOME", _set(home="/nonexistent/second-build")),
    "inodes": Variation("other inode numbers", _conditions("--vary-inodes", "other")),
    "kernel": Variation("the kernel calls itself 2.6", _started_with("setarch", "--uname-2.6")),
    "locales": Variation(
        "et_EE.UTF-8, which is C where it is not installed",
        _variables(LANG="et_EE.UTF-8", LC_ALL="et_EE.UTF-8", LANGUAGE="et_EE:et"),
    ),
    "num_cpus": Variation("one processor", _one_processor),
    "time": Variation(f"{DAYS} days later", _set(days_ahead=DAYS, clock_ahead=DAYS * 86400)),
    "timezone": Variation("14 hours east", _variables(TZ="GMT-14")),
    "uid": Variation("other numbers of user and group", _set(builder=SECOND_BUILDER)),
    "umask": Variation("002", _set(umask="002")),
    "user_group": Variation("other names of user and group", _set(user_name="second-builder")),
}

TWICE = ("fileordering", "inodes", "blocks")
"""What --twice has always varied."""

CLOCKS = Path("/proc/self/ns/time")
"""Where the kernel has namespaces of clocks, but for the date."""
FAKE_CLOCK = "libfaketimeMT.so.1"
"""The kernel has no other date for some processes (time_namespaces(7)), so a library has to lie."""
FAKE_CLOCK_INSIDE = "var/lib/cowbuild"


def chosen(words: Iterable[str]) -> tuple[str, ...]:
    """The variations that a list means: names, +names, -names, all; one that begins with a sign changes all. Misuse."""
    found: set[str] | None = None
    for word in words:
        sign, name = (word[0], word[1:]) if word[:1] in ("+", "-") else ("", word)
        if name not in (*VARIATIONS, "all"):
            raise Misuse(f"There is no variation {name!r}", f"There are: all {' '.join(VARIATIONS)}")
        named = set(VARIATIONS) if name == "all" else {name}
        if found is None:
            found = set(VARIATIONS) if sign else set()
        found = found - named if sign == "-" else found | named
    return tuple(name for name in VARIATIONS if name in (found or ()))


def wanted(options: BuildOptions) -> tuple[str, ...]:
    """What is to be varied; nothing where a build is not to be repeated."""
    words = options.vary or (("all",) if options.bisect and not options.twice else ())
    both = {*chosen(words), *(TWICE if options.twice else ())}
    return tuple(name for name in VARIATIONS if name in both)


def first(options: BuildOptions) -> Surroundings:
    """The surroundings of the build that the others are compared with; what no variation changes is to be the same."""
    return replace(USUAL, conditions=SORTED) if wanted(options) else USUAL


def surroundings(options: BuildOptions, names: Sequence[str]) -> Surroundings:
    """The first build's with these variations."""
    seen = first(options)
    for name in names:
        seen = VARIATIONS[name].change(seen, options)
    return seen if CLOCKS.exists() else replace(seen, clock_ahead=0)


def fake_clock(job: Job) -> dict[str, str]:
    """The variables that let a build see another date, for which a library is put into its session. Problem."""
    days = job.surroundings.days_ahead
    library = clock_library(job.build_architecture)
    if not days or library is None:
        return {}
    try:
        hostile_tree.make_directory(job.session.root, FAKE_CLOCK_INSIDE, (0, 0))
        with hostile_tree.directory(job.session.root, FAKE_CLOCK_INSIDE) as place:
            hostile_tree.copy_in(library, place, FAKE_CLOCK)
    except OSError as error:
        raise Problem(f"The session's clock cannot be set: {error}") from None
    return {
        "LD_PRELOAD": f"/{FAKE_CLOCK_INSIDE}/{FAKE_CLOCK}",
        "FAKETIME": f"+{days}d",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Times of files stay: those of the source, which are the same in both builds, above all.
        "NO_FAKE_STAT": "1",
    }


def clock_library(architecture: str) -> Path | None:
    """Libfaketime of this machine, where programs of that architecture can load it."""
    if architecture != architectures.machine():
        return None
    return next(iter(sorted(Path("/usr/lib").glob(f"*/faketime/{FAKE_CLOCK}"))), None)


def notes(options: BuildOptions, architecture: str) -> list[str]:
    """What of the variations asked for cannot be had here."""
    names = wanted(options)
    found = []
    if "time" in names and clock_library(architecture) is None:
        found.append(f"time: the date stays, there is no libfaketime for {architecture} (apt-get install libfaketime)")
    if "time" in names and not CLOCKS.exists():
        found.append("time: clocks that count from the machine's start stay, this kernel has no time namespaces")
    if "num_cpus" in names and len(os.sched_getaffinity(0)) == 1:
        found.append("num_cpus: there is one processor here, so only the number of jobs can change")
    return found
