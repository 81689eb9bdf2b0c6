"""Running commands: their output into the build log, or back to the caller."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.interrupts import uninterrupted
from builder.log import BuildLog
from builder.problems import Problem

CHUNK = 64 * 1024


class TimedOut(Exception):
    """A command ran, or was silent, for longer than allowed. The text says which."""


def shown(command: Sequence[str | Path]) -> str:
    """The command as one would type it."""
    return shlex.join(str(word) for word in command)


def logged(
    command: Sequence[str | Path],
    log: BuildLog,
    *,
    environment: Mapping[str, str] | None = None,
    time_limit: float | None = None,
    silence_limit: float | None = None,
    terminal: bool = False,
) -> int:
    """Run a command without input, its output into the log, and return its exit code.

    Limits are in seconds; past one the command is killed and TimedOut raised. Whatever raises here, a signal's
    Interrupted too, the command's process group is killed before the exception goes on. With `terminal` it has no group
    of its own, and may open the terminal; then it alone is killed.
    """
    # The group, because a sandbox's unshare killed between its fork and its child's prctl would leave the child behind.
    group = None if terminal else 0
    started = time.monotonic()
    with (
        log.screen.command(time_limit, takes_terminal=terminal),
        _running(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, environment=environment, group=group
        ) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stdout is not None
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            deadline = _next_deadline(started, time_limit, silence_limit)
            if not selector.select(None if deadline is None else max(0.0, deadline - time.monotonic())):
                raise TimedOut(_limit_reached(started, time_limit, silence_limit))
            data = os.read(process.stdout.fileno(), CHUNK)
            if not data:
                return process.wait()
            log.write(data)


def _next_deadline(started: float, time_limit: float | None, silence_limit: float | None) -> float | None:
    deadlines = []
    if time_limit is not None:
        deadlines.append(started + time_limit)
    if silence_limit is not None:
        deadlines.append(time.monotonic() + silence_limit)
    return min(deadlines, default=None)


def _limit_reached(started: float, time_limit: float | None, silence_limit: float | None) -> str:
    if time_limit is not None and time.monotonic() - started >= time_limit:
        return f"not finished after {time_limit:.0f} seconds"
    return f"no output for {silence_limit:.0f} seconds"


def output(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    given: bytes | None = None,
    directory: Path | None = None,
) -> str:
    """What a command prints, run in `directory`. Problem when it is missing or fails, with its last words."""
    with _running(
        command,
        stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        environment=environment,
        group=0,
        directory=directory,
    ) as process:
        printed, complained = process.communicate(given)
    if process.returncode != 0:
        last_words = complained.decode(errors="replace").strip().splitlines()[-5:]
        raise Problem(f"{command[0]} failed with exit code {process.returncode}", "\n".join(last_words))
    return printed.decode(errors="surrogateescape")


def together(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command without input to its end, its errors with its output. Its exit code is the caller's to judge.

    FileNotFoundError where it is missing.
    """
    return subprocess.run(
        list(map(str, command)),
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


@contextmanager
def _running(
    command: Sequence[str | Path],
    *,
    stdout: int,
    stderr: int,
    environment: Mapping[str, str] | None,
    stdin: int = subprocess.DEVNULL,
    group: int | None = None,
    directory: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A command that is killed, with its group if it has one, when something raises before it has ended."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with uninterrupted():
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=environment,
                cwd=directory,
                process_group=group,
            )
        yield process
    except BaseException as error:
        if process is not None:
            _kill(process, group)
        elif isinstance(error, FileNotFoundError):
            raise Problem(f"The command {command[0]} is missing", "`apt-file search` names its package.") from None
        raise
    finally:
        if process is not None:
            with process:  # closes its pipes and waits for it
                pass


def _kill(process: subprocess.Popen[bytes], group: int | None) -> None:
    if group is None:
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
