"""What is installed in a root, by dpkg's database in it: whose a file is, and what a package needs.

Read without running anything in the root and without following its links.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from builder import hostile_tree
from builder.debian.dsc import ARCHITECTURE
from builder.problems import Problem

LIMIT = 64 * 1024 * 1024
"""Bytes that a file of the database may have. A machine with everything on it has 10 MiB in its largest."""

LISTED = 4_000_000
"""Paths that all packages together may have; what a hostile root can make us remember."""

BINARY_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")
RELATION_NAME = re.compile(rf"\s*({BINARY_NAME.pattern})(?![^\s:(\[<])")

Alternatives = tuple[str, ...]


@dataclass(frozen=True)
class Package:
    name: str
    """With :ARCH where that is not the root's own."""
    version: str
    essential: bool
    needs: tuple[Alternatives, ...]
    """What it depends on: of each group one is enough."""
    provides: tuple[str, ...]


@dataclass
class Installed:
    """Packages by name, and paths as they are in the root, each with the names of its packages."""

    packages: dict[str, Package]
    owners: dict[str, list[str]]
    providers: dict[str, list[str]] = field(init=False)
    foreign: dict[str, list[str]] = field(init=False)
    """Those of other architectures, by name alone: a cross build's dependencies do not name the architecture."""

    def __post_init__(self) -> None:
        self.providers = defaultdict(list)
        self.foreign = defaultdict(list)
        for package in self.packages.values():
            plain, colon, _ = package.name.partition(":")
            if colon:
                self.foreign[plain].append(package.name)
            for virtual in package.provides:
                self.providers[virtual].append(package.name)

    def named(self, alternatives: Iterable[str]) -> list[str]:
        """The installed packages that satisfy a relation: every one, since which of them did it nobody can tell."""
        found = []
        for name in alternatives:
            found += [name] if name in self.packages else self.providers.get(name) or self.foreign.get(name, [])
        return found

    def closure(self, names: Iterable[str]) -> set[str]:
        """These packages and all that they need."""
        reached: set[str] = set()
        waiting = [name for name in names if name in self.packages]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                for alternatives in self.packages[name].needs:
                    waiting += self.named(alternatives)
        return reached

    @property
    def essential(self) -> list[str]:
        return [package.name for package in self.packages.values() if package.essential]


def read(root: Path, architecture: str) -> Installed:
    """The database of a root. OSError where it is not there, Problem where it is not as dpkg leaves it."""
    with hostile_tree.directory(root, "") as top:
        aliases = _aliases(top)
    with hostile_tree.directory(root, "var/lib/dpkg") as place:
        packages = _packages(_text(place, "status"), architecture)
        diversions: dict[str, tuple[str, str]] = {}
        with suppress(FileNotFoundError):
            diversions = _diversions(_text(place, "diversions"), aliases)
    owners: dict[str, list[str]] = defaultdict(list)
    left = LISTED
    with hostile_tree.directory(root, "var/lib/dpkg/info") as place:
        for listing in hostile_tree.names(place):
            name = listing.removesuffix(".list").removesuffix(f":{architecture}")
            if not listing.endswith(".list") or name not in packages:
                continue
            paths = _text(place, listing).splitlines()
            if (left := left - len(paths)) < 0:
                raise Problem(f"dpkg's database in the session is damaged: its packages have over {LISTED} files")
            for path in paths:
                real = _unaliased(path, aliases)
                moved, by = diversions.get(real, (real, ""))
                owners[real if by == name.partition(":")[0] else moved].append(name)
    return Installed(packages, dict(owners))


def _text(place: int, name: str) -> str:
    return os.fsdecode(hostile_tree.read(place, name, LIMIT))


def _aliases(top: int) -> dict[str, str]:
    """Directories that are now links into /usr, while packages still name them: /bin -> /usr/bin."""
    found = {}
    for name in hostile_tree.names(top):
        with suppress(OSError):  # no link
            target = os.readlink(name, dir_fd=top).strip("/")
            if target == f"usr/{name}":
                found[f"/{name}"] = f"/{target}"
    return found


def _unaliased(path: str, aliases: Mapping[str, str]) -> str:
    first, slash, rest = path[1:].partition("/")
    target = aliases.get(f"/{first}")
    return path if target is None else f"{target}{slash}{rest}"


def _diversions(text: str, aliases: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Where a diverted path of the packages lies, and whose own file took its place; for ":" that is nobody's."""
    lines = iter(text.splitlines())
    return {
        _unaliased(path, aliases): (_unaliased(moved, aliases), by)
        for path, moved, by in zip(lines, lines, lines, strict=False)
    }


def _packages(status: str, architecture: str) -> dict[str, Package]:
    found = {}
    # As bytes, whose lines end where dpkg's do.
    text = os.fsencode(status).decode(errors="replace").encode()
    for fields in _paragraphs(text):
        if not fields.get("Status", "").endswith(" installed"):
            continue
        plain, of = fields.get("Package", ""), fields.get("Architecture", "")
        if not BINARY_NAME.fullmatch(plain) or not ARCHITECTURE.fullmatch(of):
            raise Problem(f"dpkg's database in the session is damaged: a package {plain[:100]!r} for {of[:100]!r}")
        own = of in (architecture, "all")
        name = plain if own else f"{plain}:{of}"
        needs = [*_relations(fields, "Pre-Depends"), *_relations(fields, "Depends")]
        if not own:  # what it needs of its own architecture stands beside the name alone
            needs = [tuple(each for other in group for each in (f"{other}:{of}", other)) for group in needs]
        found[name] = Package(
            name=name,
            version=fields.get("Version", ""),
            essential=fields.get("Essential") == "yes",
            needs=tuple(needs),
            provides=tuple(group[0] for group in _relations(fields, "Provides")),
        )
    return found


def _paragraphs(text: bytes) -> Iterator[Mapping[str, str]]:
    # python-debian's start would be felt by all who read other files of a root.
    from debian.deb822 import Deb822

    try:
        yield from Deb822.iter_paragraphs(text, use_apt_pkg=False)
    except ValueError as error:
        raise Problem(f"dpkg's database in the session is damaged: {error}") from None


def _relations(fields: Mapping[str, str], name: str) -> Sequence[Alternatives]:
    return relations(fields.get(name, ""))


def relations(text: str) -> list[Alternatives]:
    """The names in a field of relations; what is no relation is left out."""
    parts = [[RELATION_NAME.match(each) for each in group.split("|")] for group in text.split(",")]
    groups = [tuple(found[1] for found in group if found is not None) for group in parts]
    return [group for group in groups if group]
