"""Types of arguments that several verbs have."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from builder.problems import Misuse

HALF_OF_MEMORY = "50%"
"""What `--build-in-memory` means by itself, as tmpfs(5) has sizes."""

YES_OR_NO = argparse.BooleanOptionalAction


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
