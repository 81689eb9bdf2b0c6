"""What a build used of what was installed: a trace of cowfs, turned into packages and judged by the dependencies."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from builder.debian.depends import IMPLICIT, WantedPackages
from builder.debian.dpkg_database import Installed, relations
from builder.problems import Problem

# Only these say that the content counted; a name is also looked up by who walks past it.
CONTENT = frozenset({"read", "executed", "followed"})
CHANGES = frozenset({"written", "created", "removed"})

# Where these are missing, the C library takes the time that they say: it makes no difference.
NO_DIFFERENCE = frozenset(f"/usr/share/zoneinfo/{zone}" for zone in ("UTC", "GMT", "Etc/UTC", "Etc/GMT"))

# What a program puts there and takes away again is nobody's business.
TEMPORARY = ("/tmp/", "/var/tmp/")


@dataclass(frozen=True)
class TraceRecord:
    """A line of a trace (cowfs/daemon/trace_file.py)."""

    path: str
    type: str
    uses: tuple[str, ...]
    base: int | None
    """The read-only layer that shows it; None for what was made in the session."""
    size: int | None


class Reason(Enum):
    """Why a package is installed."""

    DECLARED = "build dependency"
    NEEDED = "needed by a build dependency"
    IMPLICIT = "build-essential"
    UNDECLARED = "undeclared"


class Verdict(Enum):
    """Of a build dependency."""

    USED = "used"
    NEEDED = "used through what it needs"
    LOOKED_UP = "only looked up"
    UNTOUCHED = "never touched"
    MISSING = "not installed"


@dataclass(frozen=True)
class UsedFile:
    path: str
    size: int
    uses: tuple[str, ...]
    packages: tuple[str, ...]
    """Whose it is; nobody's when empty."""


@dataclass
class PackageUse:
    name: str
    reason: Reason
    files: list[UsedFile] = field(default_factory=list)
    looked_up: int = 0
    """Files of which nothing but the name was asked for."""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def executed(self) -> int:
        return sum("executed" in file.uses for file in self.files)


@dataclass(frozen=True)
class Dependency:
    """One relation of Build-Depends, as it is written there, without versions."""

    text: str
    verdict: Verdict
    through: tuple[str, ...] = ()
    """The packages that were used, where the dependency's own were not."""


@dataclass(frozen=True)
class Usage:
    dependencies: list[Dependency]
    packages: list[PackageUse]
    """Those of which something was used or looked up, the most read first."""
    unowned: list[UsedFile]
    """Used, and no package's."""
    written: list[UsedFile]
    """Changed outside of the build's directory."""

    @property
    def unused(self) -> list[Dependency]:
        return [each for each in self.dependencies if each.verdict in (Verdict.UNTOUCHED, Verdict.LOOKED_UP)]

    @property
    def undeclared(self) -> list[PackageUse]:
        return [each for each in self.packages if each.reason is Reason.UNDECLARED and each.files]


class Used(NamedTuple):
    """What a build used, and of what."""

    usage: Usage
    installed: Installed


def read_trace(path: Path) -> list[TraceRecord]:
    """The records of a trace. OSError, Problem where it is none."""
    records = []
    with path.open("rb") as lines:
        next(lines, None)
        for number, line in enumerate(lines, 2):
            try:
                records.append(_record(json.loads(line)))
            except (ValueError, KeyError, TypeError, RecursionError):
                raise Problem(f"Line {number} of the trace of what the build used makes no sense") from None
    return records


def _record(line: Any) -> TraceRecord:
    """KeyError, TypeError where it is none."""
    record = TraceRecord(line["path"], line["type"], tuple(line["uses"]), line["base"], line["size"])
    texts = (record.path, record.type, *record.uses)
    numbers = (record.base, record.size)
    if not isinstance(line["uses"], list) or not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    if not all(number is None or isinstance(number, int) for number in numbers):
        raise TypeError("a number is none")
    return record


def judge(trace: Iterable[TraceRecord], installed: Installed, request: WantedPackages, build_place: str) -> Usage:
    """`request` is what was asked of apt; `build_place` the directory that is the build's own."""
    implicit = installed.closure([*_named(installed, IMPLICIT), *installed.essential])
    wanted = relations(request.depends.removeprefix(IMPLICIT).lstrip(", "))
    declared = [name for group in wanted for name in installed.named(group)]
    needed = installed.closure(declared)
    packages: dict[str, PackageUse] = {}
    unowned: list[UsedFile] = []
    written: list[UsedFile] = []
    for record in trace:
        file = _file(record, installed)
        uses = set(file.uses)
        if uses & CHANGES and _is_outside(file, build_place):
            written.append(file)
        if record.base is None or record.type == "directory" or file.path in NO_DIFFERENCE:
            continue
        for name in file.packages:
            use = packages.setdefault(name, PackageUse(name, _reason(name, declared, needed, implicit)))
            if uses & CONTENT:
                use.files.append(file)
            else:
                use.looked_up += 1
        if not file.packages and uses & CONTENT:
            unowned.append(file)
    dependencies = [_dependency(group, wanted, installed, packages, implicit) for group in wanted]
    ordered = sorted(packages.values(), key=lambda use: (-use.size, use.name))
    return Usage(dependencies, ordered, unowned, written)


def brought_by_others(installed: Installed, request: WantedPackages, left_out: Collection[str]) -> list[str]:
    """Which of the dependencies that are left out would be installed all the same, since something else needs them."""
    groups = relations(request.depends)
    kept = [name for group in groups if " | ".join(group) not in left_out for name in installed.named(group)]
    there = installed.closure([*kept, *installed.essential])
    return [text for text in left_out if not there.isdisjoint(installed.named(text.split(" | ")))]


def _named(installed: Installed, text: str) -> Iterator[str]:
    for group in relations(text):
        yield from installed.named(group)


def _file(record: TraceRecord, installed: Installed) -> UsedFile:
    owners = tuple(installed.owners.get(record.path, ())) if record.base is not None else ()
    # What is opened was looked up first.
    uses = tuple(use for use in record.uses if use != "looked-up") or ("looked-up",)
    return UsedFile(record.path, record.size or 0, uses, owners)


def _is_outside(file: UsedFile, build_place: str) -> bool:
    if file.path == build_place or file.path.startswith(f"{build_place}/"):
        return False
    passing = "created" in file.uses and "removed" in file.uses and file.path.startswith(TEMPORARY)
    return not passing


def _reason(name: str, declared: list[str], needed: set[str], implicit: set[str]) -> Reason:
    if name in declared:
        return Reason.DECLARED
    if name in implicit:
        return Reason.IMPLICIT
    return Reason.NEEDED if name in needed else Reason.UNDECLARED


def _dependency(
    group: tuple[str, ...],
    wanted: list[tuple[str, ...]],
    installed: Installed,
    packages: dict[str, PackageUse],
    implicit: set[str],
) -> Dependency:
    """A dependency is used when one of its packages is, or a package that is there for its sake alone."""
    text = " | ".join(group)
    own = installed.named(group)
    if not own:
        return Dependency(text, Verdict.MISSING)
    if any(name in packages and packages[name].files for name in own):
        return Dependency(text, Verdict.USED)
    others = installed.closure(name for other in wanted if other != group for name in installed.named(other))
    alone = installed.closure(own) - others - implicit
    through = tuple(sorted(name for name in alone if name in packages and packages[name].files))
    if through:
        return Dependency(text, Verdict.NEEDED, through)
    seen = any(name in packages for name in own)
    return Dependency(text, Verdict.LOOKED_UP if seen else Verdict.UNTOUCHED)


def as_json(usage: Usage) -> dict[str, object]:
    """Plain data: what the report's JSON file holds."""
    return {
        "dependencies": [
            {"relation": each.text, "verdict": each.verdict.value, "through": list(each.through)}
            for each in usage.dependencies
        ],
        "packages": [
            {
                "package": use.name,
                "reason": use.reason.value,
                "read-bytes": use.size,
                "executed": use.executed,
                "looked-up-only": use.looked_up,
                "files": [_plain(file) for file in use.files],
            }
            for use in usage.packages
        ],
        "no-package": [_plain(file) for file in usage.unowned],
        "written-outside": [_plain(file) for file in usage.written],
    }


def _plain(file: UsedFile) -> dict[str, object]:
    return {"path": file.path, "size": file.size, "uses": list(file.uses)}


def by_directory(files: Iterable[UsedFile], depth: int) -> dict[str, int]:
    """Bytes of the files below each directory that many names deep."""
    sums: dict[str, int] = defaultdict(int)
    for file in files:
        parts = file.path.split("/")[:-1]
        sums["/".join(parts[: depth + 1]) or "/"] += file.size
    return dict(sums)
