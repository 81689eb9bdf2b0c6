"""Types of arguments that several verbs have."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from builder.problems import Misuse

HALF_OF_MEMORY = "50%"
"""What `--build-in-memory` means by itself, as tmpfs(5) has sizes."""

YES_OR_NO = argparse.BooleanOptionalAction


class VerbParser(argparse.ArgumentParser):
    """A verb's, which has its arguments from when they are asked for: to make those of all verbs takes a while."""

    def __init__(
        self, *, add: Callable[[argparse.ArgumentParser], None], prog: str, usage: str | None, description: str | None
    ) -> None:
        super().__init__(prog=prog, usage=usage, description=description)
        self._add: Callable[[argparse.ArgumentParser], None] | None = add

    def fill(self) -> VerbParser:
        """The parser, with its arguments."""
        if self._add is not None:
            add, self._add = self._add, None
            add(self)
        return self

    def parse_known_args(  # type: ignore[override]  # typeshed has it overloaded
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        self.fill()
        words, behind = list(args or []), []
        # Of a verb that gives words to others, which may look like options of its own.
        if self.get_default("build_words") is not None and "--" in words:
            at = words.index("--")
            words, behind = words[:at], words[at + 1 :]
        parsed, left = super().parse_known_args(words, namespace)
        if behind:
            parsed.build_words = behind
        return parsed, left

    def format_help(self) -> str:
        self.fill()
        return super().format_help()


def path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a path, not nothing")
    try:
        return Path(os.path.abspath(os.path.expanduser(text)))
    except FileNotFoundError:
        raise argparse.ArgumentTypeError("must be an absolute path: the current directory is gone") from None


def path_of(text: str) -> Path:
    """As `path`, of an argument that need not be a path. Misuse."""
    try:
        return path(text)
    except argparse.ArgumentTypeError as error:
        raise Misuse(f"The path {text!r} {error}") from None


def comma_list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split() if part)
