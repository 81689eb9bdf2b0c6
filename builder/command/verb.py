"""What a verb of `cowbuild` is, and what its two halves are given.

A verb that needs a session runs in two processes. The half outside, which the user sees, checks what can be checked,
and asks for the half inside, which works in the session's namespaces (builder/session/supervisor.py). Both get the
same command line, and what the outside settled besides.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple


class Inside(NamedTuple):
    """What the half inside is given."""

    directories: tuple[Path, ...]
    """Private ones, one in each of the parents that the outside named; gone afterwards."""

    @property
    def directory(self) -> Path:
        return self.directories[0]


class Outside(NamedTuple):
    """What the half outside is given."""

    words: Sequence[str]
    """The command line, with what the configuration files said."""
    parser: Callable[[], argparse.ArgumentParser]
    """A new parser of that command line."""
    configured: Sequence[str]
    """The words that tell another cowbuild what the configuration files said."""
    parse: Callable[[Sequence[str]], argparse.Namespace]
    """What another command line says, under the same configuration; exits where it makes no sense."""
    run: Callable[..., int]
    """`run(*words)`: another cowbuild under the same configuration; its exit code."""
    user_namespace: bool

    def settling(self, **settled: str) -> Outside:
        """What is given, where the half inside is to have arguments as they were settled here."""
        import json

        words = ["--settled", json.dumps(settled), *self.words]
        return self._replace(words=words)

    def work_inside(self, *parents: Path, user_namespace: bool | None = None) -> int:
        """Have the half inside work; its exit code. Its directories are made in `parents`, else in a default place."""
        # A verb that shows something needs no processes.
        from builder.session import supervisor

        use = self.user_namespace if user_namespace is None else user_namespace
        return supervisor.supervise(self.words, parents, user_namespace=use)


class Verb(NamedTuple):
    """One row of the table in verbs.py."""

    names: tuple[str, ...]
    """Its own, and others that it is known by."""
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    outside: Callable[[argparse.Namespace, Outside], int]
    inside: Callable[[argparse.Namespace, Inside], int] | None = None
    usage: str | None = None
    description: str | None = None
    for_programs: bool = False
    """What it prints is for programs; it touches no tree."""
    quiet_inside: bool = False
    """It says in a log of its own, or need not say, that it works without a user namespace."""


def no_arguments(_: argparse.ArgumentParser) -> None:
    pass
