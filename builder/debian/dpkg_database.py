"""What is installed in a root, by dpkg's database in it: whose a file is, and what a package needs.

Read without running anything in the root and without following its links.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from debian.deb822 import Deb822, PkgRelation

from builder import hostile_tree

LIMIT = 256 * 1024 * 1024
"""Bytes that a file of the database may have."""

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
    """The database of a root. OSError where it is not as dpkg leaves it."""
    with hostile_tree.directory(root, "") as top:
        aliases = _aliases(top)
    with hostile_tree.directory(root, "var/lib/dpkg") as place:
        packages = _packages(_text(place, "status"), architecture)
        diversions: dict[str, tuple[str, str]] = {}
        with suppress(FileNotFoundError):
            diversions = _diversions(_text(place, "diversions"), aliases)
    owners: dict[str, list[str]] = defaultdict(list)
    with hostile_tree.directory(root, "var/lib/dpkg/info") as place:
        for listing in hostile_tree.names(place):
            name = listing.removesuffix(".list").removesuffix(f":{architecture}")
            if listing.endswith(".list") and name in packages:
                for path in _text(place, listing).splitlines():
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
    for fields in Deb822.iter_paragraphs(status, use_apt_pkg=False):
        if not fields.get("Status", "").endswith(" installed"):
            continue
        own = fields.get("Architecture") in (architecture, "all")
        name = fields["Package"] if own else f"{fields['Package']}:{fields['Architecture']}"
        needs = [*_relations(fields, "Pre-Depends"), *_relations(fields, "Depends")]
        if not own:  # what it needs of its own architecture stands beside the name alone
            other = fields["Architecture"]
            needs = [tuple(each for plain in group for each in (f"{plain}:{other}", plain)) for group in needs]
        found[name] = Package(
            name=name,
            version=fields.get("Version", ""),
            essential=fields.get("Essential") == "yes",
            needs=tuple(needs),
            provides=tuple(each for [each] in _relations(fields, "Provides")),
        )
    return found


def _relations(fields: Deb822, name: str) -> Sequence[Alternatives]:
    return relations(fields.get(name, ""))


def relations(text: str) -> list[Alternatives]:
    """The names in a field of relations."""
    if not text.strip():
        return []
    return [tuple(each["name"] for each in group) for group in PkgRelation.parse_relations(text)]
