"""An archive's lists of sources and packages: fetched once by a private apt, asked with grep-dctrl and dose-ceve."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822
from debian.debian_support import NativeVersion

from builder.debian import apt
from builder.debian.dsc import ARCHITECTURE, RELATIONS, SOURCE_NAME, VERSION
from builder.problems import Problem
from builder.process import output

FIELDS = ("Package", "Version", "Architecture", "Binary", "Extra-Source-Only", *RELATIONS)


@dataclass(frozen=True)
class ListedSource:
    """A source package, as an archive lists it."""

    name: str
    version: str
    architectures: tuple[str, ...]
    binaries: tuple[str, ...]
    relations: dict[str, str]

    @property
    def word(self) -> str:
        """What `cowbuild build` takes for it."""
        return f"{self.name}_{self.version}"

    def builds_on(self, architecture: str) -> bool:
        """Whether something of it is built there: for all, for any, or by a wildcard as linux-any."""
        return any(
            each in ("all", "any", architecture, f"any-{architecture}", "linux-any") for each in self.architectures
        )


class ArchiveLists:
    """They lie in `place`, where apt.download_source can use them, too."""

    def __init__(self, lines: Sequence[str], architecture: str, place: Path) -> None:
        """Fetch what these lines of sources.list name. Problem where that fails, or lists no source."""
        self._architecture = architecture
        self._options = [
            *apt.private_options(place, lines),
            *("-o", f"APT::Architecture={architecture}", "-o", f"APT::Architectures={architecture}"),
        ]
        apt.update(self._options, "the lists of sources")
        self._sources = self._plain("Sources", place)
        self._packages = self._plain("Packages", place)
        if not self._sources:
            raise Problem("The archive lists no sources", "A line of sources.list that begins with deb-src names some.")

    def _plain(self, kind: str, place: Path) -> list[Path]:
        """The lists of a kind, not compressed: apt keeps them as it likes, and the other tools know fewer ways."""
        listed = output(["apt-get", *self._options, "indextargets", "--format", "$(FILENAME)", f"Created-By: {kind}"])
        found = []
        for number, name in enumerate(line for line in listed.splitlines() if Path(line).exists()):
            plain = place / f"{kind}-{number}"
            plain.write_bytes(output(["/usr/lib/apt/apt-helper", "cat-file", name]).encode(errors="surrogateescape"))
            found.append(plain)
        return found

    def sources(self, condition: Sequence[str] = ()) -> list[ListedSource]:
        """The newest of each name, of those for which grep-dctrl's `condition` holds. Problem."""
        shown = ["-s", ",".join(FIELDS)]
        found = _grep([*shown, *(condition or ["-F", "Package", ""])], self._sources)
        return newest(parsed(found))

    def named(self, pattern: str) -> list[ListedSource]:
        """Those whose name a shell's pattern fits, or of which FIELD=REGEX holds (extended, in any case)."""
        field, equals, regex = pattern.partition("=")
        if equals:
            return self.sources(["-F", field, "-e", regex])
        return [each for each in self.sources() if fnmatch.fnmatchcase(each.name, pattern)]

    def depending_on(self, packages: Collection[str]) -> list[ListedSource]:
        """The sources whose fields of build dependencies name one of these packages."""
        names = "|".join(re.escape(name) for name in sorted(packages))
        fields = ",".join(each for each in RELATIONS if "Depends" in each)
        return self.sources(["-F", fields, "-e", rf"(^|[ ,|])({names})([ ,:(|<[]|$)"])

    def depending_at_last(self, packages: Collection[str]) -> list[ListedSource]:
        """The sources for whose build one of these packages may have to be installed, because of whatever. Problem."""
        lists = [*(f"deb://{path}" for path in self._packages), *(f"debsrc://{path}" for path in self._sources)]
        native = f"--deb-native-arch={self._architecture}"
        cone = ["dose-ceve", "-T", "debsrc", "-r", ",".join(sorted(packages)), "-G", "pkg", native, *lists]
        names = set(re.findall(r"^Package: (?:src:)?(\S+)$", output(cone), re.MULTILINE))
        return [each for each in self.sources() if each.name in names]

    def provided_by(self, packages: Collection[str]) -> set[str]:
        """The packages, and the names that the archive's packages of these names provide."""
        names = "|".join(re.escape(name) for name in sorted(packages))
        command = ["-n", "-s", "Provides", "-F", "Package", "-e", f"^({names})$"]
        provided = re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]+)", _grep(command, self._packages), re.MULTILINE)
        return {*packages, *provided}

    def versions_of(self, package: str) -> set[str]:
        """The versions of a binary package that there are."""
        command = ["-n", "-s", "Version", "-F", "Package", "-X", package]
        return set(_grep(command, self._packages).split())


def _grep(words: Sequence[str], lists: Sequence[Path]) -> str:
    """What grep-dctrl prints of the lists; nothing where nothing fits, which it ends with 1 for."""
    if not lists:
        return ""
    try:
        return output(["sh", "-c", '"$@" || test $? = 1', "grep", "grep-dctrl", *words, *lists])
    except Problem as problem:
        if "not found" in problem.hint:
            raise Problem("The command grep-dctrl is missing", "apt-get install dctrl-tools") from None
        raise Problem(f"grep-dctrl cannot do that: {problem.hint}") from None


def parsed(text: str) -> Iterable[ListedSource]:
    """Those whose names and versions are such that Debian Policy allows them."""
    for said in Deb822.iter_paragraphs(text.encode(errors="surrogateescape"), use_apt_pkg=False):
        name, version, architectures = said.get("Package", ""), said.get("Version", ""), said.get("Architecture", "")
        if not SOURCE_NAME.fullmatch(name) or not VERSION.fullmatch(version) or "Extra-Source-Only" in said:
            continue
        yield ListedSource(
            name,
            version,
            tuple(each for each in architectures.split() if ARCHITECTURE.fullmatch(each)),
            tuple(said.get("Binary", "").replace(",", " ").split()),
            {field: said[field] for field in RELATIONS if field in said},
        )


def newest(sources: Iterable[ListedSource]) -> list[ListedSource]:
    """The one with the highest version of each name, by name."""
    best: dict[str, ListedSource] = {}
    for each in sources:
        if each.name not in best or _order(best[each.name].version) < _order(each.version):
            best[each.name] = each
    return [best[name] for name in sorted(best)]


def _order(version: str) -> NativeVersion:
    return NativeVersion(version)
