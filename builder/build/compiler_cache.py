"""`--ccache` and `--sccache`: what compilers make is kept for later builds, in a directory bound into the session.

    outside     builder/store/compiler_caches.py
    inside      PLACE/PROGRAM/          that directory, the builder's
                PLACE/PROGRAM.counts    the session's own: what the program counted in this build

The program comes with the build dependencies. A cache hands what one build wrote to the next one, so it is used only
where it was asked for, and by no build that is compared with another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from builder import hostile_tree
from builder.build.job import BuildOptions, Job
from builder.build.summary import StageFailed
from builder.session import own_directories
from builder.store import compiler_caches

PLACE = "/var/lib/cowbuild/compilers"

COUNTS_LIMIT = 64 * 1024 * 1024
"""Bytes of what a program counted: ccache writes some for each compilation."""

MIB = 1024**2

# sccache's server, which writes to the disk in its own time, would be killed with the build's sandbox.
END_SERVER = (
    f'status=0; "$@" || status=$?; sccache --show-stats --stats-format=json >{PLACE}/sccache.counts 2>/dev/null; '
    'sccache --stop-server >/dev/null 2>&1; exit "$status"'
)


@dataclass(frozen=True)
class Counted:
    """What a program says of one build."""

    found: int
    compiled: int

    def __str__(self) -> str:
        asked = self.found + self.compiled
        return f"{self.found} of {asked} compilations were in the cache"


@dataclass(frozen=True)
class CompilerCache:
    """A program that keeps what compilers made; also the name of its package and of the build's option."""

    variables: Callable[[str, int, str], Mapping[str, str]]
    """Of its directory, its limit in bytes, and the build's PATH."""
    count: Callable[[str], Counted]
    """What it has counted, of its text; ValueError, KeyError, TypeError where it is none."""
    around: Sequence[str] = ()
    """Words before the build's command."""


def _ccache_counted(text: str) -> Counted:
    # A line with the source's name, then one for each thing that was counted.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = sum(line in ("direct_cache_hit", "preprocessed_cache_hit") for line in lines)
    return Counted(found, lines.count("cache_miss"))


def _sccache_counted(text: str) -> Counted:
    stats = json.loads(text)["stats"]
    found, compiled = (sum(map(int, stats[name]["counts"].values())) for name in ("cache_hits", "cache_misses"))
    return Counted(found, compiled)


PROGRAMS: Mapping[str, CompilerCache] = {
    "ccache": CompilerCache(
        variables=lambda place, limit, path: {
            # Debian's links, by the names of the compilers.
            "PATH": f"/usr/lib/ccache:{path}",
            "CCACHE_DIR": place,
            "CCACHE_MAXSIZE": f"{max(1, limit // MIB)}Mi",
            "CCACHE_STATSLOG": f"{place}.counts",
        },
        count=_ccache_counted,
    ),
    "sccache": CompilerCache(
        variables=lambda place, limit, _path: {
            "RUSTC_WRAPPER": "/usr/bin/sccache",
            "SCCACHE_DIR": place,
            "SCCACHE_CACHE_SIZE": f"{max(1, limit // MIB)}M",
        },
        count=_sccache_counted,
        around=("sh", "-c", END_SERVER, "sccache"),
    ),
}


def wanted(options: BuildOptions) -> list[str]:
    """The programs that were asked for."""
    return [name for name, asked in (("ccache", options.ccache), ("sccache", options.sccache)) if asked]


def dependencies(options: BuildOptions) -> list[str]:
    """What a build needs more for them."""
    return [f"{name}:native" for name in wanted(options)]


@contextmanager
def missed(job: Job) -> Iterator[None]:
    """When what is in here cannot install one of the programs, the reason says so."""
    try:
        yield
    except StageFailed as failure:
        for name in wanted(job.options):
            if re.search(rf"(?<![\w-]){name}\b", str(failure)):
                reason = f"{job.distribution} has no package {name} for {job.build_architecture}, which --{name} needs"
                raise StageFailed(failure.stage, failure.status, reason, f"Without --{name}") from None
        raise


@contextmanager
def bound(job: Job, variables: dict[str, str]) -> Iterator[Sequence[str]]:
    """While the build runs: the caches are in its session, and `variables` lead to them. Words before its command.

    What was counted goes into the log and its summary. Problem, OSError.
    """
    options, around = job.options, list[str]()
    with ExitStack() as stack:
        for name in wanted(options):
            files = stack.enter_context(compiler_caches.in_use(name, job.owner))
            hostile_tree.make_directory(job.session.root, PLACE.lstrip("/"), job.owner)
            hostile_tree.make_directory(job.session.root, f"{PLACE}/{name}".lstrip("/"), job.owner)
            own_directories.bind(files, job.session.root, f"{PLACE}/{name}".lstrip("/"))
            program = PROGRAMS[name]
            variables |= program.variables(f"{PLACE}/{name}", options.compiler_cache_limit, variables["PATH"])
            around += program.around
            stack.callback(_tell, job, name)
        yield around


def _tell(job: Job, name: str) -> None:
    try:
        with hostile_tree.directory(job.session.root, PLACE.lstrip("/")) as place:
            text = hostile_tree.read(place, f"{name}.counts", COUNTS_LIMIT).decode(errors="replace")
        counted = str(PROGRAMS[name].count(text))
    except FileNotFoundError:
        counted = "nothing was compiled through it"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        counted = "what was found is not known"
    size, limit = compiler_caches.size_of(name), job.options.compiler_cache_limit
    said = f"{counted}; it has {size // MIB} MiB of {limit // MIB}"
    job.log.line(f"{name}: {said}")
    job.summary.fields[name.capitalize()] = said
