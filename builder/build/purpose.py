"""Builds that are made for something else than their artifacts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from builder.build.job import Job


@dataclass(frozen=True)
class Purpose:
    """What a build is for, where it is not for its artifacts alone."""

    root: Callable[[Job], AbstractContextManager[Sequence[Path]]]
    """Frozen layers that the build's session stands on."""
    look: Callable[[Job], None]
    """At the session, before anything is done in it."""
    judge: Callable[[Job], None]
    """What was made."""
