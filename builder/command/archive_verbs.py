"""The verbs that build what an archive has: the reverse build dependencies of packages, or all of its sources."""

from __future__ import annotations

import argparse

from builder.command.arguments import YES_OR_NO, comma_list, path
from builder.command.many_options import add_conduct
from builder.command.verb import Outside

# What the verbs need is imported when they run.

RDEPS_USAGE = "cowbuild rdeps [OPTIONS] PACKAGE|FILE.changes [-- OPTIONS OF BUILD]"

RDEPS_DESCRIPTION = """\
Build what build-depends on a package: with the new packages of a .changes, and what fails so without them once more.
Exit codes: 0 nothing is worse than before, 2 regressions, 3 of some it is not known.
"""

REBUILD_USAGE = "cowbuild rebuild-archive [OPTIONS] [SUITE] [-- OPTIONS OF BUILD]"

REBUILD_DESCRIPTION = """\
Build all sources of a suite, or those that a filter or a list leaves, each under all variants that are asked for:
usual, nocheck, arch-all, arch-any, one-processor, profile:NAME, vary:NAME. The exit code is the worst of all builds'.
"""


def add_rdeps(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("package", metavar="PACKAGE|FILE.changes", help="a source, a package, or what a build made")
    verb.add_argument("--transitive", action=YES_OR_NO, default=False, help="also what needs it by way of others")
    verb.add_argument("--baseline", action=YES_OR_NO, default=False, help="all without the new packages, too")
    verb.add_argument(
        "--popularity", metavar="FILE", type=path, help="--limit takes the first of popularity-contest's by_inst"
    )
    _add_common(verb)


def add_rebuild_archive(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("suite", metavar="SUITE", nargs="?", help="default: the machine's")
    verb.add_argument("--list-file", metavar="FILE", type=path, help="names of sources, one a line")
    verb.add_argument(
        "--filter",
        dest="filters",
        metavar="PATTERN",
        action="append",
        default=[],
        help="lib*: names; Field=REGEX: as grep-dctrl has it; often: all of them",
    )
    verb.add_argument("--variants", metavar="NAME,NAME", type=comma_list, default=("usual",), help="default: usual")
    _add_common(verb)


def _add_common(verb: argparse.ArgumentParser) -> None:
    verb.set_defaults(build_words=[])
    verb.add_argument("--limit", metavar="N", type=int, help="so many at most, at random where nothing else is said")
    verb.add_argument("--seed", metavar="N", type=int, default=0, help="another choice at random")
    verb.add_argument(
        "--archive",
        dest="archives",
        metavar="LINE",
        action="append",
        default=[],
        help="deb-src and deb lines as in sources.list, in place of the suite's own",
    )
    verb.add_argument("--dry-run", action="store_true", help="only say which")
    verb.add_argument("--output", metavar="DIR", help="reports, ledger and logs; default: NAME.rdeps, SUITE.rebuild")
    verb.add_argument("--keep-artifacts", action=YES_OR_NO, default=False, help="the packages, too, not the logs alone")
    add_conduct(verb.add_argument_group("how they are run"), retry_failed=True)


def rdeps(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.command import archive_builds

    return archive_builds.rdeps(arguments, outside)


def rebuild_archive(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.command import archive_builds

    return archive_builds.rebuild_archive(arguments, outside)
