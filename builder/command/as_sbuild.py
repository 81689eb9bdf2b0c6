"""Building as sbuild: its words and configuration are read outside, and inside is the build that they ask for."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from builder import screen
from builder.build.job import check_options
from builder.build.summary import Status
from builder.command.verb import Inside, Outside
from builder.debian import apt, architectures, base_facts
from builder.problems import Problem, Unobtainable
from builder.sbuild import chroot, configuration, early_end, help_text, meaning, options, source, variables
from builder.session import supervisor
from builder.store import bases, dependency_layers, kept_sessions
from cowfs import __version__

# The release of sbuild whose options are known, for who looks at a version first.
OPTIONS_OF = "0.89.3"


def outside(arguments: argparse.Namespace, given: Outside) -> int:
    return _as_sbuild(lambda: _check(arguments, given))


def inside(arguments: argparse.Namespace, given: Inside) -> int:
    return _as_sbuild(lambda: _build(arguments, given))


def _as_sbuild(work: Callable[[], int]) -> int:
    """Sbuild's way to say what is wrong. 2 and 3 are for builds: whoever reads the exit code must not be misled."""
    try:
        return work()
    except Problem as problem:
        print(f"E: {problem}", file=sys.stderr)
        for line in problem.hint.splitlines():
            print(f"I: {line}", file=sys.stderr)
        return 1


def _check(arguments: argparse.Namespace, outside: Outside) -> int:
    words = arguments.words[1:] if arguments.words[:1] == ["--"] else arguments.words
    given = options.parse(words, configuration.read())
    if given.show:
        print(help_text.text() if given.show == "help" else f"sbuild (cowfs {__version__}) {OPTIONS_OF}")
        return 0
    settings = given.settings
    if settings["verbose"] is None:
        settings["verbose"] = int(sys.stdin.isatty() and sys.stdout.isatty())
    variables.checked(settings)
    _settle_log_directory(settings)
    wanted = source.settle(given.packages, settings)
    asked = meaning.Asked(settings, sorted(given.said), wanted.package, wanted.distribution, str(wanted.output), "")
    try:
        base = _base(settings, wanted, outside)
    except Unobtainable as problem:
        return early_end.write(asked, _screen(settings), "fetch-src", Status.GIVEN_BACK, problem)
    except Problem as problem:
        return early_end.write(asked, _screen(settings), "create-session", Status.FAILED, problem)
    asked = meaning.Asked(**{**asdict(asked), "base": base})
    record = meaning.build_options(asked, Path(wanted.package), bases.find(base))
    check_options(record)
    keeps_none = record.purge_session == "always"
    first = supervisor.default_parent() if keeps_none else kept_sessions.make_sessions_directory()
    parents = [first, *([dependency_layers.layers_directory()] if record.cached else [])]
    with tempfile.TemporaryDirectory(prefix="cowbuild-made-") as place:
        made = Path(place) / "made"
        settled = outside.settling(asked=json.dumps(asdict(asked)), made=str(made))
        code = settled.work_inside(*parents)
        return _sign(settings, made) if code == 0 and settings["key_id"] else code


def _settle_log_directory(settings: variables.Values) -> None:
    """A buildd's logs are in its home; a directory for logs is made where it is missing. Problem."""
    if settings["sbuild_mode"] == "buildd" and not settings["log_dir"]:
        settings["log_dir"] = os.path.expanduser("~/logs")
    if settings["log_dir"] and not settings["nolog"]:
        try:
            Path(settings["log_dir"]).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Problem(f"Cannot make the directory for logs {settings['log_dir']}: {error.strerror}") from None


def _base(settings: variables.Settings, wanted: source.Source, outside: Outside) -> str:
    """The name or the path of the base; it is made where it is missing. Unobtainable, before that, of the source."""
    from builder.build import obtain

    found = chroot.find(settings, wanted.distribution)
    if found.suite:
        obtain.check_obtainable(wanted.package, found.suite)
    elif found.tarball is not None:
        obtain.check_package(wanted.package)
    if found.tarball is not None:
        found, code = _made_of_tarball(found.tarball, outside)
    elif found.suite:
        architecture = settings["build_arch"] or architectures.machine()
        print(f"I: there is no base {found.base} yet; making it", file=sys.stderr, flush=True)
        make = partial(outside.run, "create", found.base, "--suite", found.suite, "--arch", architecture)
        code = bases.make_once(found.base, make)
    else:
        code = 0
    if code != 0:
        raise Problem(f"The base {found.base} could not be made (exit code {code})")
    return found.base


def _made_of_tarball(tarball: Path, outside: Outside) -> tuple[chroot.Chroot, int]:
    """The base that is made of a tarball, and the exit code."""
    for old in chroot.superfluous():
        outside.run("remove", old)
    place_for = tempfile.TemporaryDirectory(prefix=supervisor.PREFIX, dir=supervisor.default_parent())
    with supervisor.interruptible(), place_for as place:
        # A copy, which nobody replaces or changes between being named by its checksum and being unpacked.
        copy = Path(place) / tarball.name
        found = chroot.of_copy(tarball, copy)
        return found, bases.make_once(found.base, partial(outside.run, "create", found.base, "--tarball", str(copy)))


def _build(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.build import obtain, stages

    asked = meaning.Asked(**json.loads(arguments.asked))
    show = _screen(asked.settings)
    with bases.base_in_use(asked.base) as tree:
        suite = base_facts.code_name(tree)
        try:
            obtain.check_package(asked.package)
            dsc = obtain.dsc(
                asked.package,
                inside.directory / "given",
                apt.machine_suite() if suite == "unknown" else suite,
            )
            record = meaning.build_options(asked, dsc, tree)
            code = stages.build(record, inside.directories, show=show)
        except Unobtainable as problem:
            return early_end.write(asked, show, "fetch-src", Status.GIVEN_BACK, problem)
    made = inside.directory / "artifacts"
    if code == 0 and made.is_dir():
        changes = [os.path.join(asked.output, name) for name in os.listdir(made) if name.endswith(".changes")]
        Path(arguments.made).write_text("\n".join(changes))
    return code


class _Silent(screen.NoScreen):
    """Where the log is in a file, and not to be seen: why it failed is seen nevertheless."""

    def reason(self, text: str) -> None:
        print(f"E: {text}", file=sys.stderr, flush=True)


def _screen(settings: variables.Settings) -> screen.Screen:
    shown = settings["nolog"] or settings["verbose"] > 0
    return screen.of_build(quiet=False, one_of_several=False) if shown else _Silent()


def _sign(settings: variables.Settings, made: Path) -> int:
    """With the user's key, outside of all namespaces, where the user's agent is."""
    for changes in made.read_text().splitlines():
        try:
            done = subprocess.run(["debsign", "--re-sign", f"-k{settings['key_id']}", "--", changes], check=False)
        except FileNotFoundError:
            raise Problem("debsign is missing", "apt-get install devscripts") from None
        if done.returncode != 0:
            raise Problem(f"{changes} was built, and could not be signed (debsign: exit code {done.returncode})")
    return 0
