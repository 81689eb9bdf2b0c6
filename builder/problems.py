"""The ways in which things end badly, and how they are said."""

from __future__ import annotations

import sys


class Problem(Exception):
    """Something the user can put right: one sentence, and lines of what to do about it.

    Either may quote what a build wrote, so it is made `printable`.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = "\n".join(printable(line) for line in hint.expandtabs().splitlines())


class Misuse(Problem):
    """What was asked for makes no sense; seen before anything was begun."""

    exit_code = 2


class Unobtainable(Problem):
    """The source is not to be had: the package is given back (summary.py)."""

    exit_code = 3


class Interrupted(BaseException):
    """A signal asked the builder to end. Not an Exception, so that nothing on the way out takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def tell(who: str, problem: Problem) -> None:
    """Say on standard error what is wrong, and below it what to do."""
    print(f"{who}: {problem}", file=sys.stderr)
    for line in problem.hint.splitlines():
        print(f"    {line}", file=sys.stderr)


def printable(text: str) -> str:
    """Text of others' making as one line that no terminal takes for commands."""
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
