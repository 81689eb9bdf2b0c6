"""Rebuilding a source under another version: binNMUs and suffixes, as an entry on top of debian/changelog."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from builder.problems import Misuse

# Run in the unpacked source as the builder; the entry is the first argument.
PUT_ON_TOP = """
set -e
{ printf '%s\\n' "$1"; cat debian/changelog; } > debian/changelog.cowbuild
mv debian/changelog.cowbuild debian/changelog
"""

MAINTAINER = re.compile(r"[^\n<>]+ <[^\s<>]+>")
ENTRY = re.compile(r"\S+ \((?P<version>[0-9A-Za-z.+~:-]+)\) [^;\n]+;")
SUFFIX = re.compile(r"[A-Za-z0-9.+~]*")
SECONDS = re.compile(r"\+?[0-9]{1,11}")
DATE = re.compile(r"[A-Z][a-z]{2}, +[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}")


@dataclass(frozen=True)
class Rebuild:
    """What is asked for. `number` and `text` make a binNMU; `suffix` is put behind the version."""

    number: int | None = None
    text: str | None = None
    suffix: str = ""
    maintainer: str | None = None
    timestamp: str | None = None
    """Seconds since 1970, or a date as the changelog has it."""
    whole_entry: str | None = None
    """The changelog's new entry, to its last line's end, instead of all this."""

    @property
    def wanted(self) -> bool:
        given = (self.number, self.text, self.whole_entry)
        return bool(self.suffix) or any(each is not None for each in given)

    def check(self) -> None:
        """Misuse where no changelog entry can be made of it."""
        if (given := self.whole_entry) is not None:
            _version_of(given)
        elif self.wanted and not self.maintainer:
            raise Misuse("A rebuild under another version needs a maintainer", "--maintainer 'NAME <ADDRESS>'")
        if self.maintainer and not MAINTAINER.fullmatch(self.maintainer):
            raise Misuse(f"{self.maintainer!r} is no maintainer", "--maintainer 'NAME <ADDRESS>'")
        if not SUFFIX.fullmatch(self.suffix):
            raise Misuse(f"{self.suffix!r} cannot be appended to a version", "Letters, digits and + . ~ only.")
        if self.timestamp is not None and not (SECONDS.fullmatch(self.timestamp) or DATE.fullmatch(self.timestamp)):
            raise Misuse(
                f"{self.timestamp!r} is no time of a changelog", "Seconds since 1970, or as `date --rfc-email` has it."
            )

    def version(self, version: str) -> str:
        """That of the rebuild. Of the number 0 nothing is seen in it."""
        if (given := self.whole_entry) is not None:
            return _version_of(given)
        number = self.number if self.number is not None or self.text is None else 1
        return version + (f"+b{number}" if number else "") + self.suffix

    def entry(self, name: str, version: str, distribution: str, architecture: str) -> str:
        """The changelog's new first entry. Misuse without a maintainer, who has to answer for it."""
        self.check()
        if self.whole_entry is not None:
            return self.whole_entry
        lines = [f"{name} ({self.version(version)}) {distribution}; urgency=low, binary-only=yes", ""]
        if self.suffix:
            lines.append(f"  * Append {self.suffix} to version number; no source changes")
        if self.number is not None or self.text is not None:
            lines.append(f"  * Binary-only non-maintainer upload for {architecture}; no source changes.")
            lines += [("    " if at else "  * ") + line for at, line in enumerate((self.text or "").splitlines())]
        return "\n".join([*lines, "", f" -- {self.maintainer}  {self._date()}", ""])

    def _date(self) -> str:
        moment = self.timestamp if self.timestamp is not None else str(int(time.time()))
        if SECONDS.fullmatch(moment):
            return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(int(moment)))
        return moment


def _version_of(entry: str) -> str:
    if (found := ENTRY.match(entry.strip())) is None:
        raise Misuse("What is given as a changelog's entry is none", "NAME (VERSION) DISTRIBUTION; urgency=low")
    return found["version"]
