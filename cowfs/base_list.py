"""Several bases in one word, TOP:LOWER, and options separated by commas: with backslashes, as overlayfs has them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path


def split(text: str, separator: str) -> list[str]:
    """Split at a separator that no backslash precedes. The parts keep their backslashes."""
    found = re.finditer(r"\\.|" + re.escape(separator), text, re.DOTALL)
    cuts = [match.start() for match in found if match[0] == separator]
    return [text[before + 1 : after] for before, after in pairwise([-1, *cuts, len(text)])]


def unescaped(text: str) -> str:
    """Without the backslashes that made a character mean itself."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def split_bases(text: str) -> list[Path]:
    """The bases of TOP:LOWER. A directory of that very name, colons and backslashes included, is one base.

    argparse.ArgumentTypeError if one of them has no name.
    """
    for name in (text, unescaped(text)):
        if os.path.isdir(name):
            return [Path(name)]
    parts = [unescaped(part) for part in split(text, ":")]
    if "" in parts:
        raise argparse.ArgumentTypeError(f"{text!r} names no base.")
    return [Path(part) for part in parts]


def join_bases(bases: Sequence[Path | str]) -> str:
    """What `split_bases` takes apart."""
    return ":".join(re.sub(r"([\\:])", r"\\\1", str(base)) for base in bases)
