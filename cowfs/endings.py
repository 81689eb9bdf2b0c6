"""How a command that the system fails ends: with one sentence, and no second complaint when Python exits."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable


def run(name: str, command: Callable[[], int]) -> int:
    """Run a command and write out what it printed; its exit code, or 1 after a sentence about an OSError.

    Nothing is said of a reader who has gone, as in `cowfs list | head -1`.
    """
    if sys.stdout is None:  # closed by the caller
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        try:
            return command()
        finally:
            sys.stdout.flush()
    except OSError as error:
        _say_no_more()
        if not isinstance(error, BrokenPipeError):
            print(f"{name}: {_sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _say_no_more() -> None:
    """What cannot be written is not to be tried again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        nobody_reads()


def nobody_reads() -> None:
    """What is printed from now on goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _sentence(error: OSError) -> str:
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    if error.errno == errno.ENOENT:
        return "The current directory does not exist any more."
    return error.strerror or str(error)
