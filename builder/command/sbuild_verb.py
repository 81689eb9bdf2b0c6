"""The verb sbuild: a build by sbuild's words and configuration (as_sbuild.py)."""

from __future__ import annotations

import argparse

from builder.command.verb import Inside, Outside

USAGE = "cowbuild-sbuild [OPTIONS OF SBUILD] [PACKAGE]"

DESCRIPTION = """\
Build as sbuild does, by its options and its configuration, in a session over a base: `cowbuild-sbuild` is this verb as
a command, and can stand in sbuild's place. `cowbuild-sbuild --help` says of each option what becomes of it.
"""


def add_sbuild(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("words", metavar="WORD", nargs=argparse.REMAINDER, help="after --: what sbuild takes")


def check_sbuild(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.command import as_sbuild

    return as_sbuild.outside(arguments, outside)


def sbuild(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.command import as_sbuild

    return as_sbuild.inside(arguments, inside)
