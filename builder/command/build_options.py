"""The options of `cowbuild build`: one row each, and what they are to a build.

The `dest` of an option that a build has as it is given is the name of a field of BuildOptions (builder/build/job.py).
"""

from __future__ import annotations

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from builder.build import cross, hooks, obtain
from builder.build.binnmu import Rebuild
from builder.build.job import PLACE, PURGE, TESTERS, BuildOptions, Test
from builder.build.vary import VARIATIONS
from builder.command.arguments import HALF_OF_MEMORY, YES_OR_NO, comma_list, path, path_of
from builder.command.many_options import add_conduct
from builder.debian import architectures
from builder.store import compiler_caches, dependency_layers, downloads

ORDERS = ("longest", "dependencies")

HOOKS_DESCRIPTION = """\
Shell commands, each option as often as wanted. Escapes: %d the .dsc, %c the .changes, %a the architecture, %b the
directory of the build, %p the package's in it, %s an interactive shell, %% a percent sign.
"""

TESTS_DESCRIPTION = """\
Each in a session of its own. What it says goes into the log, and fails the build where its success is required.
"""


def add_build(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "packages",
        metavar="PACKAGE",
        nargs="*",
        default=["."],
        help="a .dsc, a source tree, NAME or NAME_VERSION; default: .",
    )
    verb.add_argument("--base", "-c", "--chroot", metavar="BASE", help="a name or a directory; default: SUITE-ARCH")
    verb.add_argument("--dist", "-d", metavar="SUITE", help="without --base; default: the machine's suite")
    verb.add_argument("--arch", "--build", metavar="A", help="the base's architecture; default: the machine's")
    verb.add_argument("--host", metavar="A", help="cross build for this architecture")
    verb.add_argument("--output", "--build-dir", metavar="DIR", help="default: here; a tree's parent")
    verb.add_argument("--log", action=YES_OR_NO, default=True, dest="log_file", help="a log file beside the artifacts")
    verb.add_argument("--nolog", "-n", action="store_false", dest="log_file", default=True, help="as --no-log")
    verb.add_argument("--quiet", "-q", action=YES_OR_NO, default=False, help="the log file only, not the terminal")
    verb.add_argument("--verbose", "-v", action=YES_OR_NO, default=False, help="show the script that makes the sandbox")
    _add_what(verb.add_argument_group("what is built"))
    built_with = verb.add_argument_group("what it is built with")
    _add_dependencies(built_with)
    _add_apt(built_with)
    _add_how(verb.add_argument_group("how it is built"))
    _add_tests(verb.add_argument_group("what looks at the packages", TESTS_DESCRIPTION))
    _add_rebuild(verb.add_argument_group("under another version"))
    _add_several(verb.add_argument_group("of several packages"))
    _add_hooks(verb.add_argument_group("commands of your own", HOOKS_DESCRIPTION))


def _add_several(group: argparse._ArgumentGroup) -> None:
    add_conduct(group, retry_failed=False)
    group.add_argument(
        "--order",
        choices=ORDERS,
        default="longest",
        help="default: longest first; dependencies: each after those of the others that it needs, with their packages",
    )


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--arch-all",
        "-A",
        dest="build_all",
        action=YES_OR_NO,
        help="architecture-independent packages; not with --host",
    )
    group.add_argument(
        "--arch-any", dest="build_any", action=YES_OR_NO, default=True, help="architecture-dependent packages"
    )
    group.add_argument(
        "--source", "-s", dest="build_source", action=YES_OR_NO, default=False, help="the source package, too"
    )
    group.add_argument("--dpkg-source-opt", metavar="OPTION", action="append", default=[], help="for a source tree")
    group.add_argument("--dpkg-source-opts", metavar="OPTIONS", type=str.split, default=[])


def _add_dependencies(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--add-depends", metavar="RELATION", action="append", default=[])
    group.add_argument("--add-conflicts", metavar="RELATION", action="append", default=[])
    group.add_argument("--resolve-alternatives", action=YES_OR_NO, default=False, help="not only the first of a | b")
    group.add_argument(
        "--extra-package",
        dest="extra_packages",
        metavar="DEB",
        type=path,
        action="append",
        default=[],
        help="or a directory",
    )
    add_repositories(group)
    group.add_argument("--deps-cache", action=YES_OR_NO, default=True, help="keep installed dependencies for later")
    group.add_argument(
        "--deps-cache-age",
        metavar="SECONDS",
        type=float,
        default=dependency_layers.DEFAULT_AGE,
        help=f"how long they are taken to be what apt would install; default: {dependency_layers.DEFAULT_AGE:.0f}",
    )
    group.add_argument(
        "--deps-cache-size",
        metavar="MIB",
        type=int,
        default=dependency_layers.DEFAULT_LIMIT // 1024**2,
        help="for all together",
    )


def _add_apt(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--apt-update", action=YES_OR_NO, help="default: yes, but not when dependencies are kept")
    group.add_argument(
        "--apt-update-age",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="how old lists of the base are taken to be current; default: 0, apt asks each time",
    )
    group.add_argument(
        "--downloads-size",
        metavar="MIB",
        type=int,
        default=downloads.DEFAULT_LIMIT // 1024**2,
        help="for downloaded packages, kept for other builds; 0: none are",
    )
    add_apt_proxy(group)
    group.add_argument("--apt-upgrade", "--apt-distupgrade", action=YES_OR_NO, default=False)


def _add_how(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--profiles", metavar="P,P", type=comma_list, help="build profiles; --host: cross,nocheck")
    group.add_argument("--jobs", "-j", metavar="N", type=int, default=os.cpu_count() or 1, help="default: all CPUs")
    group.add_argument("--debbuildopt", metavar="OPTION", action="append", default=[], help="for dpkg-buildpackage")
    group.add_argument("--debbuildopts", metavar="OPTIONS", type=str.split, default=[], help="separated by blanks")
    group.add_argument(
        "--build-path", dest="build_place", metavar="DIR", default=PLACE, help=f"in the session; default: {PLACE}"
    )
    group.add_argument(
        "--in-union",
        metavar="DIR,DIR",
        type=comma_list,
        default=(),
        help="build, tmp: the build tree, /tmp; by themselves they are plain directories beside the layer",
    )
    group.add_argument(
        "--build-in-memory",
        metavar="SIZE",
        nargs="?",
        const=HALF_OF_MEMORY,
        help="the session, at most so much, as 4G or 50%%; default: half of the memory; SIZE after a =",
    )
    _add_compiler_cache(group)
    group.add_argument("--uploader", "-e", metavar="NAME", help="the .changes' Changed-By")
    group.add_argument(
        "--enable-network", dest="network", action=YES_OR_NO, default=False, help="during the build, too"
    )
    group.add_argument("--time-limit", metavar="SECONDS", type=float, help="for the build stage")
    group.add_argument("--silence-limit", metavar="SECONDS", type=float, help="for the build stage to say nothing")
    group.add_argument("--purge-session", choices=PURGE, default="always", help="else it is kept: cowbuild sessions")
    group.add_argument(
        "--check-clean",
        action=YES_OR_NO,
        default=False,
        help="`debian/rules clean` after the build must restore the tree",
    )
    _add_looks(group)
    add_variations(group)


def _add_looks(group: argparse._ArgumentGroup) -> None:
    """At how it is built, and again at what was built."""
    group.add_argument("--trace", action="store_true", help="report which dependencies were used, and what else")
    group.add_argument(
        "--minimise", action="store_true", help="with --trace: build without the unused ones, and say which suffice"
    )
    group.add_argument(
        "--snapshot-steps", action="store_true", help="keep the session, and its states after each debhelper command"
    )
    group.add_argument("--incremental", action="store_true", help="over the build tree kept from the last time")
    group.add_argument("--compare", action="store_true", help="with --incremental: build clean as well, and compare")


def _add_compiler_cache(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--ccache", action=YES_OR_NO, default=False, help="keep what C compilers make for other builds")
    group.add_argument(
        "--sccache", action=YES_OR_NO, default=False, help="the same of Rust's; beside --ccache or alone"
    )
    group.add_argument(
        "--compiler-cache-size",
        metavar="MIB",
        type=int,
        default=compiler_caches.DEFAULT_LIMIT // 1024**2,
        help="for each of these two",
    )


def add_repositories(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--extra-repository",
        dest="extra_repositories",
        metavar="LINE",
        action="append",
        default=[],
        help="as in sources.list; or FILE.sources, or its text",
    )
    group.add_argument(
        "--extra-repository-key", dest="extra_keys", metavar="FILE", type=path, action="append", default=[]
    )


def add_apt_proxy(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--apt-proxy",
        metavar="ADDRESS",
        help="for apt in sessions, or none; default: what auto-apt-proxy finds, where it is installed",
    )


def add_variations(group: argparse._ActionsContainer) -> None:
    group.add_argument("--twice", action="store_true", help="build again, directories in another order, and compare")
    group.add_argument(
        "--vary",
        metavar="V,V",
        type=comma_list,
        default=(),
        help=f"build again under variations, and compare: all, names, +name, -name; of: {' '.join(VARIATIONS)}",
    )
    group.add_argument("--bisect", action="store_true", help="find out which variations matter; without --vary: of all")


def _add_tests(group: argparse._ArgumentGroup) -> None:
    for program in TESTERS:
        group.add_argument(f"--run-{program}", action=YES_OR_NO, default=False)
        group.add_argument(f"--{program}-opt", metavar="OPTION", action="append", default=[])
        group.add_argument(f"--{program}-opts", metavar="OPTIONS", type=str.split, default=[])
        group.add_argument(f"--{program}-require-success", action=YES_OR_NO, default=False)


def _add_rebuild(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--make-binNMU", metavar="TEXT", help="what the changelog says; the number is 1 unless given")
    group.add_argument("--binNMU", metavar="N", type=int)
    group.add_argument("--append-to-version", metavar="SUFFIX", default="")
    group.add_argument("--binNMU-timestamp", metavar="TIME", help="seconds since 1970, or as in a changelog")
    group.add_argument("--maintainer", "-m", metavar="NAME", help="who answers for it")


def _add_hooks(group: argparse._ArgumentGroup) -> None:
    for point in hooks.POINTS:
        where = "outside" if point in hooks.OUTSIDE else "inside, as root"
        group.add_argument(f"--{point}-commands", metavar="COMMAND", action="append", default=[], help=where)
    group.add_argument("--anything-failed-commands", metavar="COMMAND", action="append", default=[])


def build_options(arguments: argparse.Namespace, dsc: Path, tree: Path | None) -> BuildOptions:
    """What is asked for over a base; None: over the usual one, which may have to be made yet."""
    if tree is not None:
        host = cross.host(arguments.host, arguments.arch, tree)
    else:
        host = arguments.host if arguments.host != (arguments.arch or architectures.machine()) else None
    given = vars(arguments)
    as_given = {field.name: _frozen(given[field.name]) for field in fields(BuildOptions) if field.name in given}
    reckoned = {
        "dsc": dsc,
        "base": tree or Path(),
        "output": obtain.output_of(package_of(arguments)) if arguments.output is None else path_of(arguments.output),
        "host": host,
        "build_all": host is None if arguments.build_all is None else arguments.build_all,
        "profiles": (cross.PROFILES if host else ()) if arguments.profiles is None else arguments.profiles,
        "purge_session": "never" if arguments.snapshot_steps else arguments.purge_session,
        "deps_cache_limit": arguments.deps_cache_size * 1024**2,
        "compiler_cache_limit": arguments.compiler_cache_size * 1024**2,
        "downloads_limit": arguments.downloads_size * 1024**2,
        "debbuild_options": (*arguments.debbuildopt, *arguments.debbuildopts),
        "rebuild": Rebuild(
            number=arguments.binNMU,
            text=arguments.make_binNMU,
            suffix=arguments.append_to_version,
            maintainer=arguments.maintainer,
            timestamp=arguments.binNMU_timestamp,
        ),
        "commands": _commands(arguments),
        "tests": _tests(arguments),
        "one_of_several": arguments.only is not None,
    }
    return BuildOptions(**{**as_given, **reckoned})


def package_of(arguments: argparse.Namespace) -> str:
    """The one to build here, of those that were named."""
    named: list[str] = arguments.packages
    return named[arguments.only or 0]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _tests(arguments: argparse.Namespace) -> tuple[Test, ...]:
    given = vars(arguments)
    return tuple(
        Test(
            program,
            options=(*given[f"{program}_opt"], *given[f"{program}_opts"]),
            must_succeed=given[f"{program}_require_success"],
        )
        for program in TESTERS
        if given[f"run_{program}"]
    )


def _commands(arguments: argparse.Namespace) -> hooks.Hooks:
    given = {point: list(getattr(arguments, f"{point.replace('-', '_')}_commands")) for point in hooks.POINTS}
    for point in hooks.FAILED:
        given[point] += arguments.anything_failed_commands
    return given
