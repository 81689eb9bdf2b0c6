"""The command `cowbuild`: its verbs and what they do with their options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import apt, base, build, supervisor
from builder.log import Interrupted, Problem

DESCRIPTION = """\
Builds Debian packages in throw-away copy-on-write sessions over a clean base.

  cowbuild create BASE --suite bookworm       make a base
  cowbuild build hello_2.10-3.dsc --base BASE build in a session over it; the base stays as it is
"""


@dataclass(frozen=True)
class Inside:
    """Set where this process is the one that works in the session's namespaces (see supervisor.py)."""

    directory: Path
    lifeline: int


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="cowbuild", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # Given by supervisor.py, not by people.
    top.add_argument("--session", type=Path, help=argparse.SUPPRESS)
    top.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)
    verbs = top.add_subparsers(metavar="VERB", required=True)
    _add_create(verbs.add_parser("create", help="make a base", description="Make a base with mmdebstrap."))
    _add_build(
        verbs.add_parser(
            "build",
            help="build a source package",
            description="Build a source package in a session over a base. Exit codes as sbuild's: 0 successful or "
            "skipped, 1 failed, 2 attempted (the package's build failed), 3 given back (the package is not to blame).",
        )
    )
    return top


def _add_create(verb: argparse.ArgumentParser) -> None:
    verb.set_defaults(act=_create)
    verb.add_argument("target", metavar="BASE", type=_path, help="the directory to make")
    verb.add_argument("--suite", "-d", "--dist", help="the Debian release; default: the machine's")
    verb.add_argument("--arch", metavar="A", help="its architecture; default: the machine's")
    verb.add_argument("--variant", default="buildd", help="mmdebstrap's variant; default: buildd")
    verb.add_argument("--include", metavar="P,P", type=_list, default=(), help="packages to have in it")
    verb.add_argument("--components", metavar="C,C", type=_list, default=("main",), help="default: main")
    verb.add_argument("--mirror", metavar="URI", help="default: as the machine's apt is set up")
    verb.add_argument("--keyring", metavar="FILE", type=_path, default=apt.KEYRING, help="default: Debian's")


def _add_build(verb: argparse.ArgumentParser) -> None:
    verb.set_defaults(act=_build)
    verb.add_argument("dsc", metavar="PACKAGE.dsc", type=_path)
    verb.add_argument("--base", "-c", "--chroot", metavar="DIR", type=_path, required=True, help="the base")
    verb.add_argument("--output", "--build-dir", metavar="DIR", type=_path, default=Path.cwd(), help="default: here")
    yes_or_no = argparse.BooleanOptionalAction
    verb.add_argument("--arch-all", "-A", action=yes_or_no, default=True, help="architecture-independent packages")
    verb.add_argument("--arch-any", action=yes_or_no, default=True, help="architecture-dependent packages")
    verb.add_argument("--source", "-s", action=yes_or_no, default=False, help="the source package, too")
    verb.add_argument("--profiles", metavar="P,P", type=_list, default=(), help="build profiles")
    verb.add_argument("--jobs", "-j", metavar="N", type=int, default=os.cpu_count() or 1, help="default: all CPUs")
    verb.add_argument("--debbuildopt", metavar="OPTION", action="append", default=[], help="for dpkg-buildpackage")
    verb.add_argument("--debbuildopts", metavar="OPTIONS", help="the same, separated by blanks")
    verb.add_argument("--add-depends", metavar="RELATION", action="append", default=[])
    verb.add_argument("--add-conflicts", metavar="RELATION", action="append", default=[])
    verb.add_argument("--resolve-alternatives", action=yes_or_no, default=False, help="not only the first of a | b")
    verb.add_argument("--apt-update", action=yes_or_no, default=True)
    verb.add_argument("--apt-upgrade", action=yes_or_no, default=False)
    verb.add_argument("--enable-network", action=yes_or_no, default=False, help="during the build, too")
    verb.add_argument("--time-limit", metavar="SECONDS", type=float, help="for the build stage")
    verb.add_argument("--silence-limit", metavar="SECONDS", type=float, help="for the build stage to say nothing")


def _path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split() if part)


def _create(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is None:
        base.check_free(arguments.target)
        return supervisor.supervise(words, parent=arguments.target.parent)
    options = base.BaseOptions(
        target=arguments.target,
        suite=arguments.suite or apt.machine_suite(),
        architecture=arguments.arch,
        variant=arguments.variant,
        include=arguments.include,
        components=arguments.components,
        mirror=arguments.mirror,
        keyring=arguments.keyring,
    )
    base.create(options, inside.directory)
    return 0


def _build(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    options = build.BuildOptions(
        dsc=arguments.dsc,
        base=arguments.base,
        output=arguments.output,
        build_any=arguments.arch_any,
        build_all=arguments.arch_all,
        build_source=arguments.source,
        profiles=arguments.profiles,
        jobs=arguments.jobs,
        apt_update=arguments.apt_update,
        apt_upgrade=arguments.apt_upgrade,
        network=arguments.enable_network,
        add_depends=tuple(arguments.add_depends),
        add_conflicts=tuple(arguments.add_conflicts),
        resolve_alternatives=arguments.resolve_alternatives,
        debbuild_options=(*arguments.debbuildopt, *(arguments.debbuildopts or "").split()),
        time_limit=arguments.time_limit,
        silence_limit=arguments.silence_limit,
    )
    if inside is None:
        build.check(options)
        return supervisor.supervise(words)
    return build.build(options, inside.directory)


def main() -> int:
    words = sys.argv[1:]
    arguments = parser().parse_args(words)
    inside = None
    if arguments.session is not None:
        inside = Inside(arguments.session, arguments.lifeline)
        supervisor.obey(inside.lifeline)
    try:
        code: int = arguments.act(arguments, words, inside)
    except Problem as problem:
        print(f"cowbuild: {problem}", file=sys.stderr)
        for line in problem.hint.splitlines():
            print(f"    {line}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return 128 + interrupted.signal_number
    return code


if __name__ == "__main__":
    sys.exit(main())
