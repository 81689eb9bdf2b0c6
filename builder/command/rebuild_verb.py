"""The verb rebuild: over which base, and then the rebuild."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from builder.command.arguments import YES_OR_NO, path, path_of
from builder.command.verb import Inside, Outside
from builder.problems import Problem

if TYPE_CHECKING:
    from builder.build.job import BuildOptions
    from builder.rebuild.buildinfo import Record
    from builder.records import Fields

# What the verb needs is imported when it runs.

DESCRIPTION = """\
Rebuild what a .buildinfo tells of, with exactly the packages that it names, and compare. Exit codes: 0 everything was
reproduced, 1 failed, 2 something is different or missing, or the build failed, 3 the source or a package cannot be had.
"""


def add_rebuild(verb: argparse.ArgumentParser) -> None:
    from builder.command.build_options import add_apt_proxy, add_repositories, add_variations

    verb.add_argument("buildinfo", metavar="FILE.buildinfo", type=path)
    verb.add_argument("--base", "-c", "--chroot", metavar="BASE", help="default: the one that has most of the packages")
    verb.add_argument("--output", metavar="DIR", help="where NAME.rebuild/ is made; default: here")
    verb.add_argument("--snapshot", metavar="URL", help="of a snapshot service, for what archives no longer have")
    verb.add_argument("--keep", action=YES_OR_NO, default=False, help="the sessions; then: cowbuild enter, fork")
    verb.add_argument("--apt-update", action=YES_OR_NO, help="default: where packages are to be installed")
    verb.add_argument(
        "--jobs", "-j", metavar="N", type=int, default=os.cpu_count() or 1, help="where it is not recorded"
    )
    verb.add_argument("--time-limit", metavar="SECONDS", type=float, help="for the build stage")
    verb.add_argument("--silence-limit", metavar="SECONDS", type=float, help="for the build stage to say nothing")
    verb.add_argument("--log", action=YES_OR_NO, default=True, dest="log_file", help="a log file in NAME.rebuild/")
    verb.add_argument("--quiet", "-q", action=YES_OR_NO, default=False, help="the log file only, not the terminal")
    add_repositories(verb)
    add_apt_proxy(verb)
    add_variations(verb)


def check_rebuild(arguments: argparse.Namespace, outside: Outside) -> int:
    """Before anything is mounted: whether the rebuild can begin, and over which base."""
    from builder.build.job import check_options
    from builder.rebuild import buildinfo
    from builder.rebuild.rebuild import options_of
    from builder.rebuild.snapshot import check_address
    from builder.session import supervisor
    from builder.store import bases, dependency_layers, kept_sessions

    record = buildinfo.read(arguments.buildinfo)
    if arguments.snapshot is not None:
        check_address(arguments.snapshot)
    if arguments.base is None:
        arguments.base = _usual_base(record)
        outside = outside.settling(base=arguments.base)
    check_options(options_of(record, _options(arguments, record, bases.find(arguments.base))))
    first = kept_sessions.make_sessions_directory() if arguments.keep else supervisor.default_parent()
    return outside.work_inside(first, dependency_layers.layers_directory())


def work_rebuild(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.rebuild import buildinfo
    from builder.rebuild.rebuild import RebuildRequest, rebuild
    from builder.store import bases

    record = buildinfo.read(arguments.buildinfo)
    with bases.base_in_use(arguments.base) as tree:
        request = RebuildRequest(record, arguments.snapshot)
        return rebuild(request, _options(arguments, record, tree), inside.directories)


def _usual_base(record: Record) -> str:
    """The nearest base. Problem where there is none of the architecture."""
    from builder.rebuild import exact_root

    name = exact_root.nearest_base(record)
    if name is None:
        raise Problem(
            f"There is no base of the architecture {record.build_architecture}",
            f"cowbuild create NAME --suite SUITE --arch {record.build_architecture}",
        )
    print(f"cowbuild: using the base {name}, which has most of the packages", flush=True)
    return name


def _options(arguments: argparse.Namespace, record: Record, tree: Path) -> BuildOptions:
    from dataclasses import fields

    from builder.build.job import BuildOptions

    given = vars(arguments)
    names = {each.name for each in fields(BuildOptions)}
    as_given = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if name in names
    }
    reckoned: Fields = {
        "dsc": record.path,
        "base": tree,
        "output": Path.cwd() if arguments.output is None else path_of(arguments.output),
        "purge_session": "never" if arguments.keep else "always",
    }
    return BuildOptions(**{**as_given, **reckoned})
