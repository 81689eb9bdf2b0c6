"""The two ways in which things end badly."""

from __future__ import annotations

from builder.log import printable


class Problem(Exception):
    """Something the user can put right: one sentence, and lines of what to do about it.

    Either may quote what a build wrote, so it is made `printable`.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(printable(message))
        self.hint = "\n".join(printable(line) for line in hint.expandtabs().splitlines())


class Interrupted(BaseException):
    """A signal asked the builder to end. Not an Exception, so that nothing on the way out takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
