"""A cowbuild that is run for one of many builds: begun, heard and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from builder.many.task import Task, Told
from builder.screen import ABOUT, STAGE

CHUNK = 64 * 1024

COWBUILD = (sys.executable, "-P", "-m", "builder")


class Running:
    """It writes its own log, says here only how far it is, and dies with the process that began it."""

    def __init__(self, task: Task, program: Sequence[str] = COWBUILD) -> None:
        self.task = task
        # Tied to this process: it cannot be asked to end them when it is killed.
        command = ["setpriv", "--pdeathsig", "KILL", "--", *program, *task.words]
        environment: Mapping[str, str] = {**os.environ, **task.environment}
        # In a group of its own: a Ctrl-C comes to the caller only, and goes on from there.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            env=environment,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._unfinished = b""
        """What it said since the end of its last line."""

    def hear(self) -> list[Told]:
        """What it has said since."""
        with suppress(BlockingIOError):
            while data := os.read(self._output.fileno(), CHUNK):
                self._unfinished += data
        *lines, self._unfinished = self._unfinished.split(b"\n")
        return [self._told(line.decode(errors="replace")) for line in lines]

    def _told(self, line: str) -> Told:
        name = self.task.name
        if line.startswith(STAGE):
            return Told(name, stage=line.removeprefix(STAGE))
        if line.startswith(ABOUT):
            _nothing, version, log = line.split(ABOUT)
            return Told(name, version=version, log=log)
        return Told(name, line=line)

    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        self._process.terminate()

    def close(self) -> None:
        """Wait for its end."""
        self._process.wait()
        self._output.close()
