"""Records of ours on disk, in JSON, read as if anybody could have written them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder import hostile_tree

Fields = dict[str, Any]
"""What a record, or a dataclass that is about to be made, has under each name."""

_LIMIT = 1024 * 1024

_LATEST = 2.0**32
"""Seconds since 1970: in the year 2106."""


def write(path: Path, fields: Mapping[str, object]) -> None:
    """OSError."""
    path.write_text(json.dumps(fields, indent=1) + "\n")


def read(path: Path, kinds: Mapping[str, type]) -> Fields | None:
    """The fields of a record: these and no other, each of its kind. None where it is no such record.

    A text is one line that can be printed; an int is a number of bytes, a float a time in seconds since 1970.
    """
    try:
        with hostile_tree.directory(path.parent, "") as place:
            record = json.loads(hostile_tree.read(place, path.name, _LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.keys() != kinds.keys():
        return None
    return record if all(_fits(record[name], kind) for name, kind in kinds.items()) else None


def _fits(value: Any, kind: type) -> bool:
    if kind is str:
        return isinstance(value, str) and value.isprintable()
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        return False
    return bool(0 <= value < (2**63 if kind is int else _LATEST))
