"""Several packages at once: a cowbuild for each, some side by side, and a table of how they ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from builder.log import Interrupted
from builder.summary import Status

LOOK_EVERY = 0.1

ENDINGS = {status.exit_code: status.word for status in (Status.SUCCESSFUL, Status.FAILED, Status.ATTEMPTED)}
ENDINGS[Status.GIVEN_BACK.exit_code] = Status.GIVEN_BACK.word


@dataclass
class Running:
    at: int
    process: subprocess.Popen[bytes]
    started: float


def build_all(packages: Sequence[str], words: Sequence[str], parallel: int) -> int:
    """Build each package of the command line `words`, `parallel` at a time; the worst of their exit codes.

    Each of them writes its own log and says nothing here. Interrupted ends all of them.
    """

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    waiting = list(range(len(packages)))
    running: list[Running] = []
    ended: dict[int, tuple[int, float]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                running.append(_start(waiting.pop(0), words))
                print(f"{packages[running[-1].at]}: started", flush=True)
            time.sleep(LOOK_EVERY)
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                ended[each.at] = (each.process.returncode, time.monotonic() - each.started)
                print(f"{packages[each.at]}: {_ending(each.process.returncode)}", flush=True)
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.wait()
    width = max(map(len, packages))
    print()
    for at, package in enumerate(packages):
        code, seconds = ended[at]
        print(f"{package:{width}}  {_ending(code):12} {seconds:8.0f} s")
    return max(code if code >= 0 else 128 - code for code, _seconds in ended.values())


def _start(at: int, words: Sequence[str]) -> Running:
    # Tied to this process: it cannot be asked to end them when it is killed.
    tied = ["setpriv", "--pdeathsig", "KILL", "--"]
    command = [*tied, sys.executable, "-P", "-m", "builder.cli", "--only", str(at), *words, "--quiet"]
    # In a group of its own: a Ctrl-C comes here only, and goes on from here.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    return Running(at, process, time.monotonic())


def _ending(code: int) -> str:
    return ENDINGS.get(code, "ended by a signal" if code < 0 or code > 128 else f"exit code {code}")
