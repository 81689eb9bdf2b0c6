"""What there is to know of a source before it is built: what it makes, and what of the same set it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import hostile_tree
from builder.debian import depends, dsc
from builder.debian.dsc import RELATIONS, TEXT_LIMIT
from builder.problems import Problem


@dataclass(frozen=True)
class Source:
    """One of a set."""

    name: str
    version: str
    binaries: tuple[str, ...]
    """Names of the packages that it makes."""
    relations: Mapping[str, str]
    """Its fields of build dependencies, as they are written."""
    architectures: tuple[str, ...] = ("any",)


def of_dsc(path: Path) -> Source:
    """Problem where it is none."""
    source = dsc.read(path)
    return Source(source.name, source.version, source.binaries, source.relations, source.architectures)


def of_tree(tree: Path) -> Source:
    """What debian/control of an unpacked source says. Problem where it is none."""
    from debian.deb822 import Deb822

    control = tree / "debian/control"
    try:
        with hostile_tree.directory(tree.resolve(), "debian") as place:
            text = hostile_tree.read(place, "control", TEXT_LIMIT)
        first, *others = Deb822.iter_paragraphs(dsc.decoded(text), use_apt_pkg=False)
        made = tuple(each["Package"] for each in others if "Package" in each)
        return Source(first["Source"], "", made, {name: first[name] for name in RELATIONS if name in first})
    except (OSError, ValueError, KeyError) as error:
        raise Problem(f"{control} does not tell what it makes: {error}") from None


def needs(sources: Mapping[str, Source], choice: depends.Choice) -> dict[str, list[str]]:
    """For each key, the keys of those that make packages it needs to be built. Problem."""
    makers: dict[str, str] = {}
    for key, source in sources.items():
        for binary in source.binaries:
            makers.setdefault(binary, key)
    return {key: _needed(key, source, makers, choice) for key, source in sources.items()}


def _needed(key: str, source: Source, makers: Mapping[str, str], choice: depends.Choice) -> list[str]:
    wanted = depends.packages_in(depends.requested(source, choice).depends)
    return sorted({makers[name] for name in wanted if makers.get(name, key) != key})


def made_packages(output: Path, package: str, version: str) -> Sequence[Path]:
    """The .deb files that a build of a source put into `output`, as its newest .changes there lists them.

    Problem where there is none, or a file is not as it is listed.
    """
    plain = version.partition(":")[2] or version
    found = [path for path in output.glob(f"{package}_{plain}_*.changes") if path.is_file() and not path.is_symlink()]
    if not found:
        raise Problem(f"There is no .changes of {package} {version} in {output}")
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    return checked_packages(newest)


def checked_packages(changes: Path) -> Sequence[Path]:
    """The .deb files that a .changes lists, beside it. Problem where one is not there as it is listed."""
    made = []
    try:
        with hostile_tree.directory(changes.parent.resolve(), "") as place:
            said = dsc.fields(hostile_tree.read(place, changes.name, TEXT_LIMIT), changes.name)
            for listed in dsc.listed_files(said, changes.name):
                if listed.name.endswith(".deb"):
                    if hostile_tree.checksum(place, listed.name) != listed.sha256:
                        raise Problem(f"{listed.name} is not the file that {changes} lists")
                    made.append(changes.parent / listed.name)
    except OSError as error:
        raise Problem(f"Cannot read what {changes} lists: {error.filename or ''} {error.strerror or error}") from None
    return made
