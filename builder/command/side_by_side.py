"""Several packages at once: a cowbuild for each, some side by side, and a table of how they are and how they ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from builder.build.summary import Status
from builder.problems import Interrupted
from builder.screen import STAGE, clock, lively
from cowfs import endings

if TYPE_CHECKING:
    from rich.table import Table

LOOK_EVERY = 0.1
CHUNK = 64 * 1024

ENDINGS = {status.exit_code: status.word for status in (Status.SUCCESSFUL, Status.FAILED, Status.ATTEMPTED)}
ENDINGS[Status.GIVEN_BACK.exit_code] = Status.GIVEN_BACK.word

COLOURS = {"waiting": "dim", "building": "cyan", Status.SUCCESSFUL.word: "green"}
OTHER_COLOUR = "red"


@dataclass
class Package:
    """One of the packages, and how its build is."""

    name: str
    state: str = "waiting"
    stage: str = ""
    started: float = 0.0
    seconds: float = 0.0
    exit_code: int = 0
    process: subprocess.Popen[bytes] | None = None
    unfinished: bytes = b""
    """What it said since the end of its last line."""


class Board:
    """Where one reads how the builds are: a line when one begins or ends, and a table after the last."""

    def say(self, text: str) -> None:
        try:
            print(text, flush=True)
        except BrokenPipeError:
            # Whoever was reading has gone; the builds go on.
            endings.nobody_reads()

    def show(self, packages: Sequence[Package]) -> None:
        """As they are now."""

    def conclude(self, packages: Sequence[Package]) -> None:
        width = max(len(package.name) for package in packages)
        print()
        for package in packages:
            print(f"{package.name:{width}}  {package.state:12} {package.seconds:8.0f} s")


class LiveBoard(Board):
    """The table all the time, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), auto_refresh=False, transient=True)

    def say(self, text: str) -> None:
        self._live.console.print(text, markup=False, highlight=False)

    def show(self, packages: Sequence[Package]) -> None:
        self._live.start()
        self._live.update(_table(packages), refresh=True)

    def conclude(self, packages: Sequence[Package]) -> None:
        self.close()
        self._live.console.print(_table(packages))

    def close(self) -> None:
        self._live.stop()


def _table(packages: Sequence[Package]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("Package", "State", "Stage")
    table.add_column("Time", justify="right")
    for package in packages:
        state = Text(package.state, style=COLOURS.get(package.state, OTHER_COLOUR))
        seconds = time.monotonic() - package.started if package.process is not None else package.seconds
        # The last part: of a long path the end would be cut off, which is what tells one from another.
        title = Text(Path(package.name).name or package.name)
        table.add_row(title, state, Text(package.stage), clock(seconds) if package.started else "")
    return table


def build_all(names: Sequence[str], words: Sequence[str], parallel: int) -> int:
    """Build each package of the command line `words`, `parallel` at a time; the worst of their exit codes.

    Each of them writes its own log and says here only how far it is. Interrupted ends all of them.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    packages = [Package(name) for name in names]
    with _board() as board:
        _run(packages, words, parallel, board)
        board.conclude(packages)
    return max(each.exit_code if each.exit_code >= 0 else 128 - each.exit_code for each in packages)


@contextmanager
def _board() -> Iterator[Board]:
    if not lively():
        yield Board()
        return
    board = LiveBoard()
    try:
        yield board
    finally:
        board.close()


def _run(packages: Sequence[Package], words: Sequence[str], parallel: int, board: Board) -> None:
    waiting = list(range(len(packages)))
    running: list[Package] = []
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                at = waiting.pop(0)
                packages[at].process = _start(at, words)
                packages[at].state, packages[at].started = "building", time.monotonic()
                running.append(packages[at])
                board.say(f"{packages[at].name}: started")
            time.sleep(LOOK_EVERY)
            for package in list(running):
                process = package.process
                assert process is not None
                assert process.stdout is not None
                code = process.poll()
                _hear(package, process, board)
                if code is not None:
                    running.remove(package)
                    process.stdout.close()
                    package.process, package.stage = None, package.stage if code else ""
                    package.exit_code, package.state = code, _ending(code)
                    package.seconds = time.monotonic() - package.started
                    board.say(f"{package.name}: {package.state}")
            board.show(packages)
    finally:
        left = [package.process for package in running if package.process is not None]
        for process in left:
            process.terminate()
        for process in left:
            process.wait()


def _start(at: int, words: Sequence[str]) -> subprocess.Popen[bytes]:
    # Tied to this process: it cannot be asked to end them when it is killed.
    tied = ["setpriv", "--pdeathsig", "KILL", "--"]
    command = [*tied, sys.executable, "-P", "-m", "builder", "--only", str(at), *words]
    # In a group of its own: a Ctrl-C comes here only, and goes on from here.
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return process


def _hear(package: Package, process: subprocess.Popen[bytes], board: Board) -> None:
    """Take note of the stages that a build has told, and pass on what else it said."""
    assert process.stdout is not None
    with suppress(BlockingIOError):
        while data := os.read(process.stdout.fileno(), CHUNK):
            package.unfinished += data
    *lines, package.unfinished = package.unfinished.split(b"\n")
    for line in lines:
        text = line.decode(errors="replace")
        if text.startswith(STAGE):
            package.stage = text.removeprefix(STAGE)
        else:
            board.say(f"{package.name}: {text}")


def _ending(code: int) -> str:
    return ENDINGS.get(code, "ended by a signal" if code < 0 or code > 128 else f"exit code {code}")
