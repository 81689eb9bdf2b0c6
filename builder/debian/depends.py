"""Build dependencies: which of a source package's relations hold for this build, for apt to resolve."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from debian.deb822 import PkgRelation
from debian.debian_support import DpkgArchTable

from builder.debian.dpkg_database import relations
from builder.problems import Problem

# What every build has without saying so (Debian Policy 4.2), and what dpkg-buildpackage becomes root with.
IMPLICIT = "build-essential:native, fakeroot:native"

# Whether there is such a package, version or profile is apt's to say.
RELATION = re.compile(
    r"""
    [A-Za-z0-9][A-Za-z0-9+.-]* (:[a-z0-9-]+)?
    (\s* \( \s* (<<|<|<=|=|>=|>|>>) \s* ([0-9]+:)?[0-9A-Za-z.+~-]+ \s* \) )?
    (\s* \[ \s* !?[a-z0-9-]+ (\s+ !?[a-z0-9-]+)* \s* \] )?
    (\s* < \s* !?[a-z0-9+.-]+ (\s+ !?[a-z0-9+.-]+)* \s* > )*
    """,
    re.VERBOSE | re.ASCII,
)

Relation = Mapping[str, Any]
"""One alternative, as python-debian parses it: name, archqual, version, arch, restrictions."""


@dataclass(frozen=True)
class WantedPackages:
    """What a build needs and must not have, as the fields of a .dsc."""

    depends: str
    conflicts: str

    def without(self, left_out: Collection[str]) -> WantedPackages:
        """But for the relations of these names, as `names_of` has them."""
        kept = [group for group in self.depends.split(", ") if names_of(group) not in left_out]
        return WantedPackages(", ".join(kept), self.conflicts)

    def as_dsc(self) -> str:
        """A source package's description with nothing in it but this, which apt-get build-dep reads."""
        lines = [
            "Format: 3.0 (native)",
            "Source: cowbuild-build-depends",
            "Binary: cowbuild-build-depends",
            "Architecture: any",
            "Version: 1",
            "Maintainer: cowbuild <cowbuild@localhost>",
            f"Build-Depends: {self.depends}",
        ]
        if self.conflicts:
            lines.append(f"Build-Conflicts: {self.conflicts}")
        return "\n".join(lines) + "\n"


def names_of(relation: str) -> str:
    """Without versions and restrictions."""
    return " | ".join(name for names in relations(relation) for name in names)


@dataclass(frozen=True)
class Choice:
    """What decides which relations hold."""

    architecture: str
    build_any: bool = True
    build_all: bool = True
    profiles: frozenset[str] = frozenset()
    all_alternatives: bool = False


class Source(Protocol):
    """What has the fields of build dependencies, as they are written."""

    @property
    def relations(self) -> Mapping[str, str]: ...


def requested(
    source: Source, choice: Choice, *, add_depends: Sequence[str] = (), add_conflicts: Sequence[str] = ()
) -> WantedPackages:
    """The relations of `source` that hold. Of alternatives the first that holds is taken, as Debian's buildds do.

    Problem when a relation cannot be understood.
    """
    parts = ["", *(["-Arch"] if choice.build_any else []), *(["-Indep"] if choice.build_all else [])]
    depends = [source.relations.get(f"Build-Depends{part}", "") for part in parts]
    conflicts = [source.relations.get(f"Build-Conflicts{part}", "") for part in parts]
    return WantedPackages(
        depends=", ".join([IMPLICIT, *_holding([*depends, *add_depends], choice)]),
        # "Conflicts: a | b" is not allowed; each alternative would be one more conflict.
        conflicts=", ".join(_holding([*conflicts, *add_conflicts], choice)),
    )


def _holding(fields: Iterable[str], choice: Choice) -> list[str]:
    table = _table()
    held = []
    for field in fields:
        if not (text := _one_line(field)):
            continue
        for alternatives in _parsed(text):
            hold = [each for each in alternatives if _holds(each, choice, table)]
            kept = hold if choice.all_alternatives else hold[:1]
            if kept:
                held.append(" | ".join(_written(each) for each in kept))
    return held


def _parsed(text: str) -> Sequence[Sequence[Relation]]:
    """Problem for what is no relation: python-debian would hand it on as it is."""
    if (wrong := misunderstood(text)) is not None:
        raise Problem(f"A build dependency cannot be understood: {wrong:.200}")
    groups = _groups(text)
    return PkgRelation.parse_relations(",".join(groups)) if groups else []


def packages_in(field: str) -> set[str]:
    """The packages that relations name, alternatives too."""
    return {name for names in relations(field) for name in names}


def misunderstood(field: str) -> str | None:
    """The first relation in a field that makes no sense (Debian Policy 7.1); None where all do. Empty ones are none."""
    parts = (part.strip() for group in _groups(field) for part in group.split("|"))
    return next((part for part in parts if not RELATION.fullmatch(part)), None)


def _groups(field: str) -> list[str]:
    return [group for group in field.split(",") if group.strip()]


@functools.cache
def _table() -> DpkgArchTable:
    return DpkgArchTable.load_arch_table()


def is_architecture(name: str) -> bool:
    """Whether dpkg knows an architecture of that name, which is no wildcard."""
    try:
        return bool(_table().dpkg_arch_to_multiarch(name))
    except KeyError:
        return False


def _one_line(field: str) -> str:
    joined = " ".join(line for line in field.splitlines() if not line.startswith("#"))
    return joined.strip().rstrip(", ")


def _holds(relation: Relation, choice: Choice, table: DpkgArchTable) -> bool:
    return _architecture_holds(relation["arch"], choice.architecture, table) and _profiles_hold(
        relation["restrictions"], choice.profiles
    )


def _architecture_holds(restrictions: Any, architecture: str, table: DpkgArchTable) -> bool:
    """Either all are negated, and none may match; or none is, and one must."""
    if not restrictions:
        return True
    matches = [table.matches_architecture(architecture, each.arch) for each in restrictions]
    if restrictions[0].enabled:
        return any(matches)
    return not any(matches)


def _profiles_hold(formula: Any, profiles: Collection[str]) -> bool:
    """Each <...> is a list of terms that must all hold; one list that holds is enough."""
    if not formula:
        return True
    return any(all((term.profile in profiles) == term.enabled for term in terms) for terms in formula)


def _written(relation: Relation) -> str:
    name = relation["name"]
    if name is None:
        raise Problem("A build dependency has no name")
    if relation.get("archqual"):
        name += f":{relation['archqual']}"
    if (constraint := relation.get("version")) is not None:
        operator, version = constraint
        return f"{name} ({operator} {version})"
    return str(name)
