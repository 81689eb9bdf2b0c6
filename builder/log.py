"""The build log, in sbuild's shape, and the two ways in which things end badly."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from builder.screen import Screen

WIDTH = 80

ENDING = 256 * 1024
"""Bytes of its end that a log knows without its file."""


class BuildLog:
    """Writes what happens to the screen as it happens, and, once it is known where, to the log file.

    What is written before `keep_in` is held back and put into the file first.
    """

    def __init__(self, screen: Screen | None = None) -> None:
        """Without a screen, what is written goes to stdout unchanged."""
        self.screen = Screen() if screen is None else screen
        self._file: IO[bytes] | None = None
        self._held_back: list[bytes] = []
        self._holds_back = True
        self._heard: bytearray | None = None
        self._ending = bytearray()
        self._section = ""
        self.path: Path | None = None

    def keep_in(self, path: Path) -> None:
        """Start the log file. It must not exist; OSError if it does or cannot be made."""
        self._file = path.open("xb", buffering=0)
        self.path = path
        for piece in self._held_back:
            self._file.write(piece)
        self._held_back.clear()

    def keep_nowhere(self) -> None:
        """There will be no log file: what a build writes, gigabytes perhaps, is not held back for one."""
        self._held_back.clear()
        self._holds_back = False

    def write(self, data: bytes) -> None:
        if self._heard is not None:
            self._heard += data
        self._ending += data
        if len(self._ending) > 2 * ENDING:
            del self._ending[:-ENDING]
        if self._file is not None:
            self._file.write(data)
        elif self._holds_back:
            self._held_back.append(data)
        self.screen.write(data)

    def ending(self) -> bytes:
        """The last that was written."""
        return bytes(self._ending[-ENDING:])

    @contextmanager
    def heard(self) -> Iterator[bytearray]:
        """What is written while this lasts, also given to the caller."""
        self._heard = bytearray()
        try:
            yield self._heard
        finally:
            self._heard = None

    def line(self, text: str = "") -> None:
        self.write(text.encode(errors="surrogateescape") + b"\n")

    def title(self, left: str, right: str) -> None:
        """The box at the top, which is no section's: package and version left, the time right."""
        self.screen.title(left)
        room = WIDTH - 4
        rule = "+" + "=" * (WIDTH - 2) + "+"
        self.line(f"{rule}\n| {left}{right.rjust(max(room - len(left), len(right) + 1))} |\n{rule}\n")

    def section(self, name: str) -> None:
        self._section = name
        self.screen.stage(name)
        rule = "+" + "-" * (WIDTH - 2) + "+"
        self.line(f"\n{rule}\n| {name.ljust(WIDTH - 4)} |\n{rule}\n")

    def subsection(self, name: str) -> None:
        self.screen.stage(f"{self._section}: {name}" if self._section else name)
        self.line(f"\n{name}\n{'-' * len(name)}\n")

    def rule(self) -> None:
        """A line across, before what is known once a part is over."""
        self.line("-" * WIDTH)

    def close(self) -> None:
        self.screen.close()
        if self._file is not None:
            self._file.close()
            self._file = None


def timestamp(moment: float) -> str:
    """UTC, as in the names of sbuild's log files and its `Finished at` line."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
