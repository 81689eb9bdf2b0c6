"""The options of all verbs that run many builds."""

from __future__ import annotations

import argparse

from builder.command.arguments import YES_OR_NO, path

LEDGER = "cowbuild.ledger"


def add_conduct(group: argparse._ActionsContainer, *, retry_failed: bool) -> None:
    group.add_argument("--parallel", metavar="N", type=int, default=1, help="of several packages so many at a time")
    group.add_argument("--ledger", metavar="FILE", type=path, help=f"where it stands; default: {LEDGER} in the output")
    group.add_argument("--resume", action="store_true", help="only what the ledger does not have yet")
    group.add_argument(
        "--retry-failed",
        action=YES_OR_NO,
        default=retry_failed,
        help="what failed once more, alone, at the end; default: " + ("yes" if retry_failed else "no"),
    )
