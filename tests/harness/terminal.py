"""A command on a terminal of its own, and what one would see on it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte

COLUMNS, ROWS = 100, 40


class Terminal:
    """Starts the command; it is killed at the end of the `with` where it has not ended."""

    def __init__(
        self, command: Sequence[str | Path], environment: Mapping[str, str], *, kind: str = "xterm-256color"
    ) -> None:
        self._screen = pyte.HistoryScreen(COLUMNS, ROWS, history=10_000, ratio=1)
        self._stream = pyte.ByteStream(self._screen)
        self.received = b""
        self._process, self._descriptor = pty.fork()
        if self._process == 0:
            os.execvpe(command[0], [str(word) for word in command], {**environment, "TERM": kind})
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        if self._process:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def lines(self) -> list[str]:
        """What is on the screen, without empty lines."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def all_lines(self) -> list[str]:
        """The same with what has been scrolled away, and with empty lines."""
        above = ["".join(row[at].data for at in range(COLUMNS)) for row in self._screen.history.top]
        return [line.rstrip() for line in (*above, *self._screen.display)]

    def wait_for(self, seen: Callable[[list[str]], bool], within: float = 60.0) -> None:
        """Until the lines on the screen are as wanted; AssertionError when they are not in time."""
        give_up = time.monotonic() + within
        while not seen(self.lines()):
            assert time.monotonic() < give_up, "\n".join(self.lines())
            assert self._take(0.1), "\n".join(self.lines())

    def end(self, within: float = 60.0) -> int:
        """Wait until the command has ended; its exit code."""
        give_up = time.monotonic() + within
        while self._take(1.0):
            assert time.monotonic() < give_up, "\n".join(self.lines())
        process, self._process = self._process, 0
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def _take(self, within: float) -> bool:
        """Show what the command writes; False at its end."""
        if select.select([self._descriptor], [], [], within)[0]:
            try:
                data = os.read(self._descriptor, 65536)
            except OSError:
                return False
            self.received += data
            self._stream.feed(data)
        return True
