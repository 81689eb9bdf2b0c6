"""What one sees of a build: its log, on a terminal with a line of status below it; or its stages only; or nothing."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cowfs import endings

# The line is below wherever the cursor is, so that half a line of the log is left alone: make room for it (scrolling
# where it has to be), remember the place, write, go back.
BEFORE_LINE = b"\x1bD\x1b[A\x1b7\x1b[m\r\n"
AFTER_LINE = b"\x1b8"
ERASE = b"\x1b[J"

STAGE = "\x1e"
"""Before the name of a stage, where only stages are told; complaints may stand between them."""

ABOUT = "\x1d"
"""Before version and log of a build, in the same place."""

DRAW_EVERY = 0.5
"""Seconds. Also how long it takes until the line is first seen, which keeps rich's start out of the build's."""


def lively() -> bool:
    """Whether the output is a terminal on which things may move."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")


class Screen:
    """The log as it is written, to a file, a pipe or a simple terminal."""

    def __init__(self) -> None:
        self._output: IO[bytes] | None = sys.stdout.buffer

    def write(self, data: bytes) -> None:
        if self._output is None:
            return
        try:
            self._output.write(data)
            self._output.flush()
        except (BrokenPipeError, ValueError):
            # Whoever was reading has gone; the log's file is still being written.
            self._output = None
            with suppress(OSError, ValueError):
                endings.nobody_reads()

    def title(self, text: str) -> None:
        """What the build is called."""

    def about(self, version: str, log: Path | None) -> None:
        """Which version is built, and where its log is."""

    def stage(self, text: str) -> None:
        """What it is doing now."""

    def reason(self, text: str) -> None:
        """Why it has failed; the log says so, too."""

    @contextmanager
    def command(self, time_limit: float | None, *, takes_terminal: bool) -> Iterator[None]:
        """While a command runs, for so many seconds at most; it may want the terminal for itself."""
        yield

    def close(self) -> None:
        """Leave nothing behind but the log."""


class NoScreen(Screen):
    def write(self, data: bytes) -> None:
        pass


class StagesOnly(Screen):
    """The names of the stages, a line each, and why it failed, for the cowbuild that runs several builds."""

    def write(self, data: bytes) -> None:
        pass

    def about(self, version: str, log: Path | None) -> None:
        super().write(f"{ABOUT}{version}{ABOUT}{log or ''}\n".encode(errors="replace"))

    def stage(self, text: str) -> None:
        super().write(f"{STAGE}{text}\n".encode(errors="replace"))

    def reason(self, text: str) -> None:
        super().write(f"{text}\n".encode(errors="replace"))


class StatusScreen(Screen):
    """The log, and below it a line that says what is built, the stage, and the time it has taken."""

    def __init__(self) -> None:
        super().__init__()
        self._title = self._stage = ""
        self._started = self._stage_started = time.monotonic()
        self._deadline: float | None = None
        self._line = b""
        """As it was last drawn; empty while it must not be."""
        self._hidden = False
        self._lock = threading.RLock()
        self._ended = threading.Event()

    def write(self, data: bytes) -> None:
        with self._lock:
            # Only after whole lines: data may end in the middle of a character or of an escape sequence.
            below = self._drawn() if data.endswith(b"\n") else b""
            super().write((ERASE if self._line else b"") + data + below)

    def title(self, text: str) -> None:
        self._title = text
        threading.Thread(target=self._keep_drawing, daemon=True).start()

    def stage(self, text: str) -> None:
        self._stage = text
        self._stage_started = time.monotonic()

    @contextmanager
    def command(self, time_limit: float | None, *, takes_terminal: bool) -> Iterator[None]:
        self._deadline = None if time_limit is None else time.monotonic() + time_limit
        if takes_terminal:
            self._hide()
        try:
            yield
        finally:
            self._deadline = None
            self._hidden = False

    def close(self) -> None:
        self._ended.set()
        self._hide()

    def _hide(self) -> None:
        with self._lock:
            self._hidden = True
            if self._line:
                self._line = b""
                super().write(ERASE)

    def _drawn(self) -> bytes:
        return BEFORE_LINE + self._line + AFTER_LINE if self._line else b""

    def _keep_drawing(self) -> None:
        while not self._ended.wait(DRAW_EVERY):
            line = self._render()
            with self._lock:
                if not self._hidden:
                    self._line = line
                    super().write(ERASE + self._drawn())

    def _render(self) -> bytes:
        # Late, and not where there is no terminal: it takes as long as starting a session's mount.
        from rich.console import Console
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        width = os.get_terminal_size(sys.stdout.fileno()).columns - 1
        console = Console(width=width, force_terminal=True, legacy_windows=False)
        line = Table.grid(padding=(0, 1), expand=True)
        cells: list[Text | ProgressBar] = [Text(self._title, style="bold", no_wrap=True, overflow="ellipsis")]
        cells.append(Text(self._stage, style="cyan", no_wrap=True, overflow="ellipsis"))
        took = clock(now - self._stage_started)
        if (deadline := self._deadline) is not None:
            limit = deadline - self._stage_started
            cells.append(ProgressBar(total=limit, completed=now - self._stage_started, width=16))
            took += f" of {clock(limit)}"
        cells.append(Text(took, no_wrap=True))
        cells.append(Text(f"total {clock(now - self._started)}", style="dim", no_wrap=True))
        for at in range(len(cells)):
            line.add_column(ratio=1 if at == 1 else None, no_wrap=True)
        line.add_row(*cells)
        with console.capture() as captured:
            console.print(line, end="")
        return captured.get().rstrip("\n").encode(errors="replace")


def of_build(*, quiet: bool, one_of_several: bool) -> Screen:
    if one_of_several:
        return StagesOnly()
    if quiet:
        return NoScreen()
    return StatusScreen() if lively() else Screen()


def clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
