"""The requests that a mount of cowfs got: what is counted, and does not depend on how busy the machine is."""

from __future__ import annotations

from pathlib import Path

from cowfs.fuse.statistics import NoStatisticsError, read_statistics

NOBODY_WAITS = frozenset({"FORGET", "BATCH_FORGET", "INTERRUPT"})
"""Sent when the kernel finds time for it: their number is not the same twice."""


def requests(root: Path) -> dict[str, int]:
    """Those that somebody waits for, by opcode; nothing for what is no cowfs."""
    try:
        by_opcode = read_statistics(root).opcodes
    except NoStatisticsError:
        return {}
    return {name: numbers.count for name, numbers in by_opcode.items() if name not in NOBODY_WAITS}


def since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What came in between, the most requested first; without the asking itself, one GETXATTR."""
    between = {name: after[name] - before.get(name, 0) for name in after}
    if "GETXATTR" in between:
        between["GETXATTR"] -= 1
    return {name: count for name, count in sorted(between.items(), key=lambda item: -item[1]) if count}
