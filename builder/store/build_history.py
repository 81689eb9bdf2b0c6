"""The builds that there were: of each how it ended, when, over which base, with what installed, and where its log is.

    PLACE/PACKAGE/TIME-RANDOM.json      a build of that source package

A record appears whole, by a rename, when its build has ended; so builds side by side need no lock. Of each package the
newest `KEPT` stay, and the last that succeeded.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from builder import private, records
from builder.debian.dsc import SOURCE_NAME
from builder.log import timestamp
from builder.problems import Misuse, printable
from builder.store.places import Kind, place_of

KEPT = 100
RECORDS = "[0-9]*.json"

SUCCESSFUL = "successful"
"""sbuild's word."""


@dataclass(frozen=True)
class PastBuild:
    package: str
    version: str
    architecture: str
    base: str
    """As the user calls it: a name or a path."""
    started: float
    seconds: float
    status: str
    """sbuild's word for how it ended."""
    stage: str
    """In which it failed; empty where it did not."""
    log: str
    """Where it was; empty where there was none."""
    installed: str
    """What the build had, as NAME_VERSION NAME_VERSION; empty where it did not get that far."""

    @property
    def versions(self) -> dict[str, str]:
        pairs = [each.partition("_") for each in self.installed.split()]
        return {name: version for name, _, version in pairs}


FIELDS = {name: float if name in ("started", "seconds") else str for name in PastBuild.__dataclass_fields__}
"""Of its record, as records.py has them."""


class Change(NamedTuple):
    """A package in two versions; empty where one of two builds had none of it."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"{self.name} {self.after} is new"
        return f"{self.name} {self.before} -> {self.after}" if self.after else f"{self.name} {self.before} is gone"


def where() -> Path:
    """Where this user's is, if there is one."""
    return place_of(Kind.STATE, "history")


def add(build: PastBuild) -> None:
    """Problem, OSError where it cannot be kept."""
    private.make(where())
    place = where() / build.package
    place.mkdir(exist_ok=True)
    name = f"{timestamp(build.started)}-{secrets.token_hex(4)}.json"
    partial = place / f".{name}"
    fields = {key: printable(value) if isinstance(value, str) else value for key, value in asdict(build).items()}
    try:
        records.write(partial, fields)
        partial.rename(place / name)
    finally:
        partial.unlink(missing_ok=True)
    _prune(place)


def _prune(place: Path) -> None:
    # Else each build would read them all.
    if sum(1 for _ in place.glob(RECORDS)) <= KEPT:
        return
    known = _read(place)
    last = next((path for path, build in known if build.status == SUCCESSFUL), None)
    for path, _build in known[KEPT:]:
        if path != last:
            path.unlink(missing_ok=True)


def _read(place: Path) -> list[tuple[Path, PastBuild]]:
    """The records of a package, newest first."""
    read = [(path, records.read(path, FIELDS)) for path in place.glob(RECORDS)]
    found = [(path, PastBuild(**fields)) for path, fields in read if fields and fields["package"] == place.name]
    return sorted(found, key=lambda each: (each[1].started, each[0].name), reverse=True)


def of_package(package: str) -> list[PastBuild]:
    """Its builds, newest first."""
    if not SOURCE_NAME.fullmatch(package):
        raise Misuse(f"{package!r} is no name of a source package")
    return [build for _path, build in _read(where() / package)]


def last_seconds(package: str) -> float | None:
    """How long the last one took that succeeded; None where none is known, or that is no source package's name."""
    if not SOURCE_NAME.fullmatch(package):
        return None
    for path in sorted((where() / package).glob(RECORDS), reverse=True):
        fields = records.read(path, FIELDS)
        if fields and fields["status"] == SUCCESSFUL:
            return float(fields["seconds"])
    return None


def packages() -> list[str]:
    """Of which there are builds."""
    with suppress(OSError):
        return sorted(path.name for path in where().iterdir() if SOURCE_NAME.fullmatch(path.name))
    return []


def last_good(build: PastBuild, known: Iterable[PastBuild]) -> PastBuild | None:
    """The last of the same package, architecture and base that succeeded, of `known`, newest first, before this one."""
    for each in known:
        alike = (each.package, each.architecture, each.base) == (build.package, build.architecture, build.base)
        if alike and each.status == SUCCESSFUL and each.started < build.started:
            return each
    return None


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """What is installed otherwise, by name."""
    names = sorted({*before, *after})
    return [
        Change(name, before.get(name, ""), after.get(name, "")) for name in names if before.get(name) != after.get(name)
    ]


def suspects(build: PastBuild, known: Sequence[PastBuild]) -> tuple[PastBuild, list[Change]] | None:
    """For a build that failed where an earlier one succeeded: that one, and what is installed otherwise since.

    None where none did, or where it is not known what was installed.
    """
    if build.status == SUCCESSFUL or not build.installed:
        return None
    good = last_good(build, known)
    return None if good is None or not good.installed else (good, changes(good.versions, build.versions))
