"""The verbs of ``cowfs`` beside mounting: what each takes, and which function does it.

A verb's function gets its parsed arguments and returns the exit code; what goes wrong it raises, and cli.py says it.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cowfs.fuse.device import unmount
from cowfs.fuse.engine import read_statistics, statistics_table


class Verb(NamedTuple):
    """One command after ``cowfs``."""

    synopsis: str
    """Its arguments, for the list in ``cowfs --help``."""
    purpose: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    details: str = ""
    """What its own --help says beyond that."""


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a verb's arguments."""
    verb = VERBS[name]
    parser = argparse.ArgumentParser(
        prog=f"cowfs {name}",
        description=f"{verb.purpose[0].upper()}{verb.purpose[1:]}.",
        epilog=verb.details or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_arguments(parser)
    return parser


def summary() -> str:
    """A line for each verb."""
    return "\n".join(f"  {f'cowfs {name} {verb.synopsis}':<38}{verb.purpose}" for name, verb in VERBS.items())


def _mountpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path)


def _stats(parsed: argparse.Namespace) -> int:
    print(statistics_table(read_statistics(parsed.mountpoint)))
    return 0


def _umount(parsed: argparse.Namespace) -> int:
    mountpoint: Path = parsed.mountpoint
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        print(f"The daemon of {mountpoint} is gone ({error.strerror}); removing the dead mount.")
    unmount(mountpoint)
    return 0


VERBS = {
    "stats": Verb("MOUNTPOINT", "requests by kind, with the time they took", _mountpoint, _stats),
    "umount": Verb("MOUNTPOINT", "unmount, also when the daemon is gone", _mountpoint, _umount),
}
