"""The verb build: over which base, one package or several, and then the build."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from builder.command.verb import Inside, Outside
from builder.problems import Problem

# What the verb needs is imported when it runs, in each half what that half needs.

USAGE = "cowbuild build [OPTIONS] [PACKAGE...]"

DESCRIPTION = """\
Build a source package in a session over a base. Exit codes as sbuild's: 0 successful or skipped, 1 failed, 2 attempted
(the package's build failed) or asked for what makes no sense, 3 given back (the package is not to blame).
"""


def add_build(verb: argparse.ArgumentParser) -> None:
    from builder.command import build_options

    build_options.add_build(verb)


def check_build(arguments: argparse.Namespace, outside: Outside) -> int:
    """Before a base is made, and before anything is mounted: whether the build can begin."""
    from builder.build import conflicts, obtain
    from builder.build.job import check_options, check_request
    from builder.command.build_options import build_options, package_of
    from builder.session import supervisor
    from builder.store import bases, build_trees, dependency_layers, kept_sessions

    for each in arguments.packages:
        obtain.check_package(each)
    package = Path(package_of(arguments))
    conflicts.check(build_options(arguments, package, None))
    if arguments.base is None:
        check_request(build_options(arguments, package, None))
        arguments.base = usual_base(arguments, outside)
        outside = outside.settling(base=arguments.base)
    wanted = build_options(arguments, package, bases.find(arguments.base))
    check_options(wanted)
    if len(arguments.packages) > 1 and arguments.only is None:
        from builder.command import several

        return several.build_all(arguments, outside, wanted)
    if wanted.incremental:
        first = build_trees.make_directory()
    elif wanted.purge_session == "always":
        first = supervisor.default_parent()
    else:
        first = kept_sessions.make_sessions_directory()
    return outside.work_inside(first, *([dependency_layers.layers_directory()] if wanted.cached else []))


def build(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.build import obtain, stages
    from builder.command.build_options import build_options, package_of
    from builder.debian import apt, base_facts
    from builder.store import bases

    with bases.base_in_use(arguments.base) as tree:
        suite = base_facts.code_name(tree)
        dsc = obtain.dsc(
            package_of(arguments),
            inside.directory / "given",
            apt.machine_suite() if suite == "unknown" else suite,
            source_options=_source_options(arguments),
            lists=arguments.archive_lists,
        )
        return stages.build(build_options(arguments, dsc, tree), inside.directories)


def usual_base(arguments: argparse.Namespace, outside: Outside) -> str:
    """The name of the base for the suite and architecture wanted.

    Where the one of that name is missing, the only other that fits; where there is none, it is made. Problem, before
    that, where a source cannot be had.
    """
    from builder.build import obtain
    from builder.debian import apt, architectures
    from builder.store import bases

    suite = arguments.dist or apt.machine_suite()
    architecture = arguments.arch or architectures.machine()
    name = f"{suite}-{architecture}"
    if name in bases.names():
        return name
    others = bases.fitting(suite, architecture)
    if len(others) == 1:
        print(f"cowbuild: there is no base {name}; using {others[0]}, of the same suite and architecture", flush=True)
        return others[0]
    for each in arguments.packages:
        obtain.check_obtainable(each, suite, source_options=_source_options(arguments))
    several = f" (--base takes one of those that fit: {', '.join(others)})" if others else ""
    print(f"cowbuild: there is no base {name} yet; making it{several}", flush=True)
    make = partial(outside.run, "create", name, "--suite", suite, "--arch", architecture)
    if (code := bases.make_once(name, make)) != 0:
        raise Problem(f"The base {name} could not be made (exit code {code})")
    return name


def _source_options(arguments: argparse.Namespace) -> tuple[str, ...]:
    return (*arguments.dpkg_source_opt, *arguments.dpkg_source_opts)
