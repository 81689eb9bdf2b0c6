"""Test conditions as the user writes them: values of options, turned into a Variation."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cowfs.union.variation import ReaddirOrder, Variation

EPILOG = """\
  readdir-order=ORDER vary-inodes=SEED pad-blocks=N    as the options of that name
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("test conditions, for builds that should not depend on them")
    orders = "sorted, reverse, shuffle or shuffle:SEED"
    group.add_argument("--readdir-order", metavar="ORDER", type=_readdir_order, help=f"of directory entries: {orders}")
    group.add_argument("--vary-inodes", metavar="SEED", type=_seed, help="other inode numbers for each SEED")
    group.add_argument("--pad-blocks", metavar="N", type=_padding, default=0, help="st_blocks says N more than it is")


def from_arguments(parsed: argparse.Namespace) -> Variation:
    from cowfs.union.variation import Variation  # of mounts alone; not of the help

    return Variation(parsed.readdir_order, parsed.vary_inodes, parsed.pad_blocks)


def with_option(variation: Variation, name: str, value: str) -> Variation:
    """What is asked for together with one of OPTIONS. ArgumentTypeError."""
    from dataclasses import replace

    field, parse = OPTIONS[name]
    return replace(variation, **{field: parse(value)})


def _readdir_order(text: str) -> ReaddirOrder:
    from cowfs.union.variation import Order, ReaddirOrder

    word, colon, seed = text.partition(":")
    try:
        order = Order(word)
    except ValueError:
        order = None
    if order is None or (colon and not (seed and order is Order.SHUFFLE)):
        raise argparse.ArgumentTypeError(f"{text!r} is no order: it is sorted, reverse, shuffle or shuffle:SEED.")
    if order is Order.SHUFFLE and not seed:
        import secrets

        seed = secrets.token_hex(4)
        # What was found with it is to be found again.
        print(f"cowfs: the order of listings is shuffle:{seed}", file=sys.stderr)
    return ReaddirOrder(order, seed)


def _seed(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("vary-inodes= needs a seed: any text.")
    return text


def _padding(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of blocks.")
    return int(text)


OPTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "readdir-order": ("readdir_order", _readdir_order),
    "vary-inodes": ("inode_seed", _seed),
    "pad-blocks": ("padding", _padding),
}
"""Options of -o: what each decides, and how its value is read."""
