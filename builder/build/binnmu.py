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
    recorded: str = ""
    """The whole entry, where it is known."""
    recorded_version: str = ""

    @property
    def wanted(self) -> bool:
        return self.number is not None or self.text is not None or bool(self.suffix or self.recorded)

    def check(self) -> None:
        """Misuse where no changelog entry can be made of it."""
        if self.wanted and not self.recorded and not self.maintainer:
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
        if self.recorded:
            return self.recorded_version
        number = self.number if self.number is not None or self.text is None else 1
        return version + (f"+b{number}" if number is not None else "") + self.suffix

    def entry(self, name: str, version: str, distribution: str, architecture: str) -> str:
        """The changelog's new first entry. Misuse without a maintainer, who has to answer for it."""
        self.check()
        if self.recorded:
            return self.recorded
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
