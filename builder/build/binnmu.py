"""Rebuilding a source under another version: binNMUs and suffixes, as an entry on top of debian/changelog."""

from __future__ import annotations

import time
from dataclasses import dataclass

from builder.problems import Problem

# Run in the unpacked source as the builder; the entry is the first argument.
PUT_ON_TOP = """
set -e
{ printf '%s\\n' "$1"; cat debian/changelog; } > debian/changelog.cowbuild
mv debian/changelog.cowbuild debian/changelog
"""


@dataclass(frozen=True)
class Rebuild:
    """What is asked for. `number` and `text` make a binNMU; `suffix` is put behind the version."""

    number: int | None = None
    text: str | None = None
    suffix: str = ""
    maintainer: str | None = None
    timestamp: str | None = None
    """Seconds since 1970, or a date as the changelog has it."""

    @property
    def wanted(self) -> bool:
        return self.number is not None or self.text is not None or bool(self.suffix)

    def version(self, version: str) -> str:
        number = self.number if self.number is not None or self.text is None else 1
        return version + (f"+b{number}" if number is not None else "") + self.suffix

    def entry(self, name: str, version: str, distribution: str, architecture: str) -> str:
        """The changelog's new first entry. Problem without a maintainer, who has to answer for it."""
        if not self.maintainer:
            raise Problem("A rebuild under another version needs a maintainer", "--maintainer 'NAME <ADDRESS>'")
        lines = [f"{name} ({self.version(version)}) {distribution}; urgency=low, binary-only=yes", ""]
        if self.suffix:
            lines.append(f"  * Append {self.suffix} to version number; no source changes")
        if self.number is not None or self.text is not None:
            lines.append(f"  * Binary-only non-maintainer upload for {architecture}; no source changes.")
            lines += [("    " if at else "  * ") + line for at, line in enumerate((self.text or "").splitlines())]
        return "\n".join([*lines, "", f" -- {self.maintainer}  {self._date()}", ""])

    def _date(self) -> str:
        moment = self.timestamp if self.timestamp is not None else str(int(time.time()))
        if moment.lstrip("+").isdigit():
            return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(int(moment)))
        return moment
