"""The changes of a layer as text: for a person, for a script, as JSON."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable

from cowfs.tools.diff import Change, Kind

LETTERS = {Kind.ADDED: "A", Kind.CONTENT: "M", Kind.METADATA: "P", Kind.DELETED: "D", Kind.RENAMED: "R"}

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\\udc80-\udcff]")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def listing(changes: Iterable[Change]) -> str:
    """A line for each change: letter, by how much the size changed, path, and what is different."""
    return "".join(f"{LETTERS[change.kind]} {_growth(change):>11}  {_described(change)}\n" for change in changes)


def name_status(changes: Iterable[Change]) -> str:
    """Letter, tab, path; of a renamed entry the old path, tab, the new one."""
    lines = []
    for change in changes:
        paths = [change.path] if change.source is None else [change.source, change.path]
        lines.append("\t".join([LETTERS[change.kind], *map(shown, paths)]) + "\n")
    return "".join(lines)


def totals(changes: Iterable[Change]) -> str:
    """How many of each kind, and by how much they grew."""
    rows = []
    listed = list(changes)
    for kind in Kind:
        of_kind = [change for change in listed if change.kind is kind]
        rows.append(f"{kind:<10}{len(of_kind):>8}{_signed(sum(map(_bytes_grown, of_kind))):>14}\n")
    rows.append(f"{'all':<10}{len(listed):>8}{_signed(sum(map(_bytes_grown, listed))):>14}\n")
    return "".join(rows)


def as_json(changes: Iterable[Change]) -> str:
    """A list of objects. Bytes of a name that are no UTF-8 are lone surrogates, as Python's os.fsdecode has them."""
    return json.dumps([_object(change) for change in changes], indent=1) + "\n"


def shown(path: bytes) -> str:
    r"""A path on one line, to be read back: control characters, backslashes and what is no UTF-8 as \ooo."""
    return _UNPRINTABLE.sub(_octal, path.decode("utf-8", "surrogateescape"))


def readable(size: int) -> str:
    """A number of bytes for a person."""
    number = float(size)
    for unit in _UNITS[:-1]:
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} {_UNITS[-1]}"


def _octal(match: re.Match[str]) -> str:
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(match[0]))


def _described(change: Change) -> str:
    text = shown(change.path) + ("/" if change.type == "directory" else "")
    if change.source is not None:
        text = f"{shown(change.source)} -> {text}"
    if change.link is not None:
        text += f" = {shown(change.link)}"
    return text + (f" ({', '.join(change.differs)})" if change.differs else "")


def _bytes_grown(change: Change) -> int:
    after = 0 if change.link is not None else change.size_after or 0
    return after - (change.size_before or 0)


def _growth(change: Change) -> str:
    grown = _bytes_grown(change)
    return _signed(grown) if grown or change.kind is Kind.CONTENT else "-"


def _signed(size: int) -> str:
    return ("+" if size > 0 else "") + readable(size)


def _object(change: Change) -> dict[str, object]:
    found: dict[str, object] = {"kind": str(change.kind), "path": os.fsdecode(change.path), "type": change.type}
    if change.source is not None:
        found["source"] = os.fsdecode(change.source)
    if change.link is not None:
        found["link"] = os.fsdecode(change.link)
    found |= {"size_before": change.size_before, "size_after": change.size_after, "differs": list(change.differs)}
    return found
