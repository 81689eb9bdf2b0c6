"""The two ways in which things end badly."""

from __future__ import annotations


class Problem(Exception):
    """Something the user can put right: one sentence, and what to do about it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Interrupted(BaseException):
    """A signal asked the builder to end. Not an Exception, so that nothing on the way out takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
