"""The verbs about builds that there were: how they ended, and their logs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from builder.command.verb import Outside
from builder.problems import Misuse, Problem

if TYPE_CHECKING:
    from builder.store import build_history

# What a verb needs is imported when it runs: the help shows the names of all, and no other verb is asked for.

SHOWN = 3
"""Changed packages in a line; --json has all."""


def add_history(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("package", metavar="SOURCE", nargs="?", help="default: every package")
    verb.add_argument("--json", action="store_true", help="for programs, with all that changed since one succeeded")


def add_log(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("package", metavar="SOURCE")
    verb.add_argument(
        "number", metavar="N", nargs="?", type=int, default=1, help="as history counts; default: 1, the last"
    )


def show_history(arguments: argparse.Namespace, _outside: Outside) -> int:
    from builder.store import build_history

    wanted = build_history.packages() if arguments.package is None else [arguments.package]
    told = []
    for package in wanted:
        known = build_history.of_package(package)
        if arguments.package is not None and not known:
            raise _unknown(package)
        told += [(number, build, known) for number, build in enumerate(known, 1)]
    told.sort(key=lambda each: each[1].started, reverse=True)
    if arguments.json:
        _print_json(told)
    else:
        for number, build, known in told:
            _print(number, build, known)
    return 0


def _unknown(package: str) -> Misuse:
    from builder.store import build_history

    known = ", ".join(build_history.packages()) or "none yet"
    return Misuse(f"There was no build of {package}", f"Builds there were of: {known}")


def _print(number: int, build: build_history.PastBuild, known: list[build_history.PastBuild]) -> None:
    from builder.log import timestamp
    from builder.store import build_history

    ended = f"{build.status} ({build.stage})" if build.stage else build.status
    what = f"{build.package} {build.version} ({build.architecture})"
    print(
        f"{number:3} {timestamp(build.started)} {what:40} {ended:24} {build.seconds:6.0f} s  {build.base}  {build.log}"
    )
    if found := build_history.suspects(build, known):
        good, changes = found
        more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        listed = "; ".join(map(str, changes[:SHOWN])) or "nothing that was installed"
        print(f"{'':4}changed since {known.index(good) + 1}, which succeeded: {listed}{more}")


def _print_json(told: list[tuple[int, build_history.PastBuild, list[build_history.PastBuild]]]) -> None:
    import json
    from dataclasses import asdict

    from builder.store import build_history

    listed = []
    for number, build, known in told:
        found = build_history.suspects(build, known)
        fields = {name: value for name, value in asdict(build).items() if name != "installed"}
        since = None if found is None else {"number": known.index(found[0]) + 1, "started": found[0].started}
        changed = [] if found is None else [each._asdict() for each in found[1]]
        listed.append({"number": number, **fields, "succeeded": since, "changed": changed})
    print(json.dumps(listed, indent=1))


def show_log(arguments: argparse.Namespace, _outside: Outside) -> int:
    import shutil
    import sys
    from pathlib import Path

    from builder import hostile_tree
    from builder.store import build_history

    known = build_history.of_package(arguments.package)
    if not known:
        raise _unknown(arguments.package)
    if arguments.number > len(known):
        raise Misuse(f"There were {len(known)} builds of {arguments.package}, and no number {arguments.number}")
    build = known[arguments.number - 1]
    if not build.log:
        raise Problem(f"Build {arguments.number} of {arguments.package} wrote no log into a file")
    try:
        with hostile_tree.regular_file(Path(build.log)) as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Problem(
            f"The log {build.log} cannot be read: {error.strerror or error}", "It was moved or removed."
        ) from None
    return 0
