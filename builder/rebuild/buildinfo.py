"""A .buildinfo (deb-buildinfo(5)): what was built, with what, where, and what came of it. None of it is trusted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder import hostile_tree
from builder.debian import dsc
from builder.debian.dsc import ListedFile
from builder.problems import Misuse, Problem
from builder.session.own_directories import may_be_place

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+", re.ASCII)
DEPENDENCY = re.compile(
    rf"(?P<name>{NAME.pattern})(:(?P<architecture>[a-z0-9-]+))? \(= (?P<version>{dsc.VERSION.pattern})\)", re.ASCII
)
SOURCE = re.compile(rf"(?P<name>{dsc.SOURCE_NAME.pattern})( \((?P<version>{dsc.VERSION.pattern})\))?", re.ASCII)
VARIABLE = re.compile(r'(?P<name>[A-Za-z_][A-Za-z0-9_]*)="(?P<value>(\\.|[^"\\])*)"')
VENDOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*", re.ASCII)

LONGEST = 100
"""Characters of a name or a version: three of them make the name of a file."""
LONGEST_PATH = 1000
MOST_PACKAGES = 10_000
MOST_ENVIRONMENT = 64 * 1024
"""Characters of all variables; the kernel takes 128 KiB of one."""


@dataclass(frozen=True, order=True)
class Binary:
    """A binary package in one version."""

    name: str
    architecture: str
    version: str

    @property
    def file_name(self) -> str:
        """As in an archive's pool; ours, whatever an archive calls it."""
        return f"{self.name}_{self.version.partition(':')[2] or self.version}_{self.architecture}.deb"

    def __str__(self) -> str:
        return f"{self.name}:{self.architecture} {self.version}"


@dataclass(frozen=True)
class Record:
    """What a .buildinfo says."""

    path: Path
    signature: str
    source: str
    source_version: str
    version: str
    architectures: tuple[str, ...]
    """What was built: architectures, `all`, `source`."""
    build_architecture: str
    host_architecture: str
    installed: tuple[Binary, ...]
    """Those for all architectures are not told from those for the build's own."""
    artifacts: tuple[ListedFile, ...]
    build_path: str
    """Of the source tree; empty where it is not told."""
    environment: Mapping[str, str]
    vendor: str
    changelog: str
    """The entry of a binNMU."""

    @property
    def binary_only(self) -> bool:
        return self.version != self.source_version


def read(path: Path) -> Record:
    """Read a .buildinfo file. Misuse when it is none; Problem when it says what it must not, or is signed wrongly."""
    try:
        with hostile_tree.regular_file(path) as file:
            content = file.read(dsc.TEXT_LIMIT + 1)
    except OSError as error:
        raise Misuse(f"Cannot read {path}: {error.strerror or error}") from None
    if len(content) > dsc.TEXT_LIMIT:
        raise Misuse(f"{path} is not a .buildinfo file: it has more than {dsc.TEXT_LIMIT} bytes")
    signature = dsc.check_signature(path, content)
    said = dsc.fields(content, path.name)
    for needed in ("Source", "Version", "Architecture", "Build-Architecture", "Installed-Build-Depends"):
        if needed not in said:
            raise Misuse(f"{path} is not a .buildinfo file: it has no field {needed}")
    source = SOURCE.fullmatch(said["Source"])
    version = said["Version"]
    if source is None or not dsc.VERSION.fullmatch(version) or max(len(said["Source"]), len(version)) > LONGEST:
        raise _wrong(path, f"a source or version that Debian Policy does not allow: {said['Source']} {version}")
    architectures = tuple(said["Architecture"].split())
    build = said["Build-Architecture"]
    host = said.get("Host-Architecture", next((each for each in architectures if each not in ("all", "source")), build))
    if not all(dsc.ARCHITECTURE.fullmatch(each) for each in (*architectures, build, host)) or not architectures:
        raise _wrong(path, f"an architecture that Debian Policy does not allow: {' '.join((*architectures, build))}")
    return Record(
        path=path.absolute(),
        signature=signature,
        source=source["name"],
        source_version=source["version"] or version,
        version=version,
        architectures=architectures,
        build_architecture=build,
        host_architecture=host,
        installed=_installed(path, said["Installed-Build-Depends"], build),
        artifacts=_artifacts(path, said),
        build_path=_build_path(path, said.get("Build-Path", "")),
        environment=_environment(path, said.get("Environment", "")),
        vendor=_vendor(path, said.get("Build-Origin", "")),
        changelog=_changelog(path, said.get("Binary-Only-Changes", "")),
    )


def _wrong(path: Path, what: str) -> Problem:
    return Problem(f"{path} gives {what:.300}", "Such a .buildinfo is made by no dpkg.")


def _installed(path: Path, field: str, own: str) -> tuple[Binary, ...]:
    found: dict[tuple[str, str], Binary] = {}
    for part in field.split(","):
        if not (relation := " ".join(part.split())):
            continue
        read_as = DEPENDENCY.fullmatch(relation)
        if read_as is None or max(len(read_as["name"]), len(read_as["version"])) > LONGEST:
            raise _wrong(path, f"as installed what is no package in one version: {relation}")
        binary = Binary(read_as["name"], read_as["architecture"] or own, read_as["version"])
        if found.setdefault((binary.name, binary.architecture), binary) != binary:
            raise _wrong(path, f"two versions of {binary.name} as installed")
    if not 0 < len(found) <= MOST_PACKAGES:
        raise _wrong(path, f"{len(found)} packages as installed")
    return tuple(sorted(found.values()))


def _artifacts(path: Path, said: Mapping[str, str]) -> tuple[ListedFile, ...]:
    # It has no field Files; what a .dsc has in that one is made of the checksums, for the same checks.
    lines = [line.split() for line in said.get("Checksums-Sha256", "").splitlines() if line.strip()]
    return dsc.listed_files({**said, "Files": "\n".join(" ".join(words) for words in lines)}, path.name)


def _build_path(path: Path, text: str) -> str:
    if not text:
        return ""
    allowed = may_be_place(text)
    if not allowed or text.count("/") < 2 or len(text) > LONGEST_PATH:
        raise _wrong(path, f"a build path in which nothing can be built: {text}")
    return text


def _environment(path: Path, text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        variable = VARIABLE.fullmatch(line.strip())
        if variable is None:
            raise _wrong(path, f"as environment what is no variable: {line.strip()}")
        found[variable["name"]] = re.sub(r"\\(.)", r"\1", variable["value"])
    if len(text) > MOST_ENVIRONMENT or "\0" in text:
        raise _wrong(path, "an environment that no program can have")
    return found


def _vendor(path: Path, text: str) -> str:
    if text and (not VENDOR.fullmatch(text) or len(text) > LONGEST):
        raise _wrong(path, f"as origin what is no vendor: {text}")
    return text


def _changelog(path: Path, text: str) -> str:
    """As it stood in debian/changelog: the field has a blank before each line, and a dot for an empty one."""
    if len(text) > MOST_ENVIRONMENT or "\0" in text:
        raise _wrong(path, "a changelog's entry that no program can be given")
    lines = [line.removeprefix(" ") for line in text.strip("\n").splitlines()]
    return "\n".join("" if line.strip() == "." else line for line in lines).strip("\n") + "\n" if text.strip() else ""
