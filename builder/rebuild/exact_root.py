"""The root that a package was built in: exactly the versions that a .buildinfo names, a layer over the nearest base."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from builder import hostile_tree
from builder.build import cached_dependencies, downloaded_packages, extra_repositories, resolvers
from builder.build.extra_repositories import PACKAGES, SOURCES
from builder.build.job import Job
from builder.build.summary import Status
from builder.build.update_chroot import bring_up_to_date
from builder.debian import base_facts
from builder.debian.dpkg_database import LIMIT
from builder.log import timestamp
from builder.problems import Problem
from builder.rebuild import places
from builder.rebuild.buildinfo import Binary, Record
from builder.rebuild.snapshot import Snapshot
from builder.session.session import Session
from builder.store import bases

# Versions may be older than the base's, and of what the base has more than was there when the package was built.
EXACTLY = ("--allow-downgrades", "--allow-change-held-packages")
KNOWN = 'apt-cache show "$@" 2>/dev/null || true'
ASKED_AT_ONCE = 500
"""Packages in one command."""


def installed(root: Path) -> set[Binary]:
    """What is installed in a base or a session. OSError where that cannot be read."""
    with hostile_tree.directory(root, "var/lib/dpkg") as place:
        status = hostile_tree.read(place, "status", LIMIT)
    found = set()
    for paragraph in status.decode(errors="replace").split("\n\n"):
        fields = _fields(paragraph)
        if fields.get("Status", "").endswith(" installed"):
            found.add(_binary(fields))
    return found


def _fields(paragraph: str) -> dict[str, str]:
    """Those of one line each: of megabytes nothing else is wanted."""
    return dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")


def _binary(fields: Mapping[str, str]) -> Binary:
    return Binary(fields.get("Package", ""), fields.get("Architecture", ""), fields.get("Version", ""))


def missing(record: Record, there: Iterable[Binary]) -> list[Binary]:
    """What the record names and a root with these has not."""
    return _not_among(record.installed, set(there))


def _not_among(wanted: Iterable[Binary], there: Container[Binary]) -> list[Binary]:
    """One for all architectures is named as one for the build's own."""
    return [each for each in wanted if each not in there and replace(each, architecture="all") not in there]


def additional(record: Record, there: Iterable[Binary]) -> list[Binary]:
    """What a root with these has more than the record names: packages, or other versions of them."""
    named = {(each.name, each.version) for each in record.installed}
    return sorted(each for each in there if (each.name, each.version) not in named)


def nearest_base(record: Record) -> str | None:
    """The name of the base from which the fewest packages must be installed; None where none is of the architecture."""
    ranked = []
    for name in bases.names():
        with suppress(Problem, OSError):
            tree = bases.find(name)
            if base_facts.architecture(tree) == record.build_architecture:
                ranked.append((len(missing(record, installed(tree))), name))
    return min(ranked)[1] if ranked else None


@contextmanager
def layers(
    job: Job, record: Record, snapshot: Snapshot | None, fetch_source: Callable[[], None]
) -> Iterator[Sequence[Path]]:
    """The frozen layer with exactly these packages, from the cache or made for it. StageFailed."""
    with job.part("install-deps", Status.GIVEN_BACK):
        text = "\n".join(map(str, record.installed))
        # What a service gives is checked by what the service says: its layers are its own.
        service = "" if snapshot is None else snapshot.address
        key = cached_dependencies.key(job, "exactly", text, service, *job.options.extra_repositories)
        assert job.layer_directory is not None
    made = cached_dependencies.kept_or_made(
        job,
        key,
        job.layer_directory,
        package=f"{job.source.name} {job.source.version} (rebuild)",
        make=lambda: _make(job, record, snapshot, fetch_source),
        # What versions are is for ever.
        age=float("inf"),
    )
    with made as (below, kept):
        if kept is not None:
            job.log.section("Update chroot")
            job.log.line(f"Not needed: the layer of {timestamp(kept.made)} has exactly these packages ({key})")
            fetch_source()
        yield below


def _make(job: Job, record: Record, snapshot: Snapshot | None, fetch_source: Callable[[], None]) -> None:
    job.log.section("Update chroot")
    with job.part("install-deps", Status.GIVEN_BACK):
        lacking = missing(record, installed(job.session.root))
    if lacking:
        _add_architectures(job, lacking)
        bring_up_to_date(job)
    fetch_source()
    job.log.section("Install package build dependencies")
    with job.part("install-deps", Status.GIVEN_BACK):
        job.log.line(f"{len(record.installed)} packages; {len(lacking)} of them not in the base")
        if lacking:
            _install(job, lacking, snapshot)
        if lacking := missing(record, installed(job.session.root)):
            raise Problem(f"Of the packages there are not installed: {' '.join(map(str, lacking))}")


def _add_architectures(job: Job, lacking: Sequence[Binary]) -> None:
    known = {job.build_architecture, "all", *base_facts.foreign_architectures(job.options.base)}
    with job.part("add-architecture", Status.GIVEN_BACK):
        for architecture in sorted({each.architecture for each in lacking} - known):
            job.session.run("dpkg", "--add-architecture", architecture)


def _install(job: Job, lacking: Sequence[Binary], snapshot: Snapshot | None) -> None:
    """Problem where one is not to be had, or apt does not install them."""
    session = job.session
    known = in_archives(session, lacking, job.build_architecture)
    others = [each for each in lacking if each not in known]
    fetched = job.directory / "fetched"
    fetched.mkdir()
    files = places.packages(others, fetched, snapshot, job.log.line)
    if files:
        extra_repositories.add_packages(session, files)
    step = ("install", *EXACTLY, *(_specification(each, job.build_architecture) for each in lacking))
    failure = "The packages that it was built with cannot be installed together"
    with downloaded_packages.shared(job, step) as kept, resolvers.reason_told(job, failure):
        session.apt_get(*kept, *step)
    if files:
        session.run("rm", "-rf", f"/{PACKAGES}", f"/{SOURCES}/cowbuild-packages.list")


def in_archives(session: Session, wanted: Sequence[Binary], own: str) -> set[Binary]:
    """Which of them apt in the session can download."""
    found = set()
    for at in range(0, len(wanted), ASKED_AT_ONCE):
        asked = wanted[at : at + ASKED_AT_ONCE]
        told = session.output("sh", "-c", KNOWN, "sh", *(_specification(each, own) for each in asked))
        # What is only installed has no file name.
        there = {_binary(_fields(paragraph)) for paragraph in told.split("\n\n") if "\nFilename:" in paragraph}
        found |= set(asked) - set(_not_among(asked, there))
    return found


def _specification(package: Binary, own: str) -> str:
    """As apt takes it; one for all architectures has no other name."""
    architecture = "" if package.architecture == own else f":{package.architecture}"
    return f"{package.name}{architecture}={package.version}"
