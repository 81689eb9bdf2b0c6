"""The command `cowbuild`: its verbs and what they do with their options."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import private, user_namespace
from builder.build import cross, hooks, obtain, stages
from builder.build.binnmu import Rebuild
from builder.build.job import TESTERS, BuildOptions, Test, check_options, check_request
from builder.command import configuration, options, side_by_side
from builder.debian import apt, architectures, base_facts, make_base
from builder.interop import pbuilder, schroot
from builder.log import timestamp
from builder.problems import Interrupted, Misuse, Problem
from builder.session import interactive, supervisor
from builder.store import bases, dependency_layers, kept_sessions
from cowfs import endings


@dataclass(frozen=True)
class Inside:
    """Set where this process is the one that works in the session's namespaces (see supervisor.py)."""

    directories: tuple[Path, ...]
    lifeline: int

    @property
    def directory(self) -> Path:
        return self.directories[0]


def _supervise(arguments: argparse.Namespace, words: Sequence[str], *parents: Path) -> int:
    return supervisor.supervise(words, parents, user_namespace=arguments.user_namespace)


def _base_options(arguments: argparse.Namespace, suite: str) -> make_base.BaseOptions:
    return make_base.BaseOptions(
        suite=suite,
        architecture=arguments.arch,
        variant=arguments.variant,
        include=arguments.include,
        components=arguments.components,
        mirror=arguments.mirror,
        keyring=arguments.keyring,
    )


def _create(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    target: str = arguments.target
    make_base.check_keyring(arguments.keyring)
    path = _path(target) if bases.is_path(target) else None
    if path is not None:
        make_base.check_free(path)
    elif target in bases.names():
        raise Problem(f"The base {target} exists already", f"cowbuild update {target}, or remove {target} first")
    if inside is None:
        if path is not None:
            return _supervise(arguments, words, path.parent)
        with bases.room_for(target) as home:
            return _supervise(arguments, words, home)
    made = make_base.create(_base_options(arguments, arguments.suite or apt.machine_suite()), inside.directory)
    if path is None:
        interactive.replace(target, made)
    else:
        make_base.check_free(path)
        # Sessions make it what "/" has; see session.py.
        made.chmod(0o700)
        made.rename(path)
        dependency_layers.remove_stale()  # of one that had this name before
    return 0


def _list_bases(_arguments: argparse.Namespace, _words: Sequence[str], _inside: Inside | None) -> int:
    for name in bases.names():
        tree = bases.find(name)
        made = time.strftime("%Y-%m-%d", time.gmtime(tree.lstat().st_ctime))
        print(f"{name:24} {base_facts.code_name(tree):12} {base_facts.architecture(tree):10} {made}  {tree}")
    return 0


def _update(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is None:
        return _supervise(arguments, words, _home(arguments.base))
    return interactive.update(arguments.base, inside.directory)


def _remove(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    at_path = "/" in arguments.base
    if inside is None:
        if at_path:
            return _supervise(arguments, words, bases.removable(arguments.base).parent)
        supervisor.remove_abandoned(bases.home_of(arguments.base))
        return _supervise(arguments, words)
    if at_path:
        bases.remove_at(arguments.base, inside.directory)
        dependency_layers.remove_stale()
    else:
        interactive.remove(arguments.base)
    return 0


def _work_in(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is None:
        user_namespace.check_fuse()
        base_facts.check_ours(bases.find(arguments.base))
        return _supervise(arguments, words, *([_home(arguments.base)] if arguments.save else []))
    return interactive.work_in(
        arguments.base,
        arguments.words,
        inside.directory,
        save=arguments.save,
        as_builder=arguments.as_builder,
        network=arguments.enable_network,
    )


def _home(name: str) -> Path:
    """The directory of a base that is to be replaced; Problem when it has no name, for then it cannot be."""
    user_namespace.check_fuse()
    if bases.is_path(name):
        raise Misuse("Only a base with a name can be replaced", "cowbuild list")
    bases.find(name)
    return bases.directory(name)


def _build(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    packages: list[str] = arguments.packages
    package = packages[arguments.only or 0]
    if inside is None:
        for each in packages:
            obtain.check_package(each)
        if arguments.base is None:
            check_request(_build_options(arguments, Path(package), None))
            arguments.base = _usual_base(arguments)
            at = words.index("build") + 1
            words = [*words[:at], "--base", arguments.base, *words[at:]]
        wanted = _build_options(arguments, Path(package), bases.find(arguments.base))
        check_options(wanted)
        if len(packages) > 1 and arguments.only is None:
            return side_by_side.build_all(packages, words, arguments.parallel)
        first = (
            supervisor.default_parent() if wanted.purge_session == "always" else kept_sessions.make_sessions_directory()
        )
        return _supervise(arguments, words, first, *([dependency_layers.layers_directory()] if wanted.cached else []))
    with bases.base_in_use(arguments.base) as tree:
        suite = base_facts.code_name(tree)
        dsc = obtain.dsc(
            package,
            inside.directory / "given",
            apt.machine_suite() if suite == "unknown" else suite,
            source_options=(*arguments.dpkg_source_opt, *arguments.dpkg_source_opts),
        )
        return stages.build(_build_options(arguments, dsc, tree), inside.directories)


def _usual_base(arguments: argparse.Namespace) -> str:
    """The name of the base for the suite and architecture wanted.

    Where the one of that name is missing, the only other that fits; where there is none, it is made. Problem, before
    that, where a source cannot be had or the build could not begin.
    """
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
        obtain.check_obtainable(each, suite, source_options=(*arguments.dpkg_source_opt, *arguments.dpkg_source_opts))
    several = f" (--base takes one of those that fit: {', '.join(others)})" if others else ""
    print(f"cowbuild: there is no base {name} yet; making it{several}", flush=True)
    create = [*arguments.configured, "create", name, "--suite", suite, "--arch", architecture]
    if (code := _create(options.parse(create), create, None)) != 0:
        raise Problem(f"The base {name} could not be made (exit code {code})")
    return name


def _build_options(arguments: argparse.Namespace, dsc: Path, tree: Path | None) -> BuildOptions:
    """What is asked for over a base; None: over the usual one, which may have to be made yet."""
    if tree is not None:
        host = cross.host(arguments.host, arguments.arch, tree)
    else:
        host = arguments.host if arguments.host != (arguments.arch or architectures.machine()) else None
    return BuildOptions(
        dsc=dsc,
        base=tree or Path(),
        output=_output(arguments),
        host=host,
        build_any=arguments.arch_any,
        build_all=host is None if arguments.arch_all is None else arguments.arch_all,
        build_source=arguments.source,
        profiles=(cross.PROFILES if host else ()) if arguments.profiles is None else arguments.profiles,
        jobs=arguments.jobs,
        namespace_refused=arguments.namespace_refused,
        apt_update=arguments.apt_update,
        deps_cache=arguments.deps_cache,
        deps_cache_age=arguments.deps_cache_age,
        deps_cache_limit=arguments.deps_cache_size * 1024**2,
        apt_upgrade=arguments.apt_upgrade,
        network=arguments.enable_network,
        add_depends=tuple(arguments.add_depends),
        add_conflicts=tuple(arguments.add_conflicts),
        resolve_alternatives=arguments.resolve_alternatives,
        debbuild_options=(*arguments.debbuildopt, *arguments.debbuildopts),
        time_limit=arguments.time_limit,
        silence_limit=arguments.silence_limit,
        build_place=arguments.build_path,
        rebuild=Rebuild(
            number=arguments.binNMU,
            text=arguments.make_binNMU,
            suffix=arguments.append_to_version,
            maintainer=arguments.maintainer,
            timestamp=arguments.binNMU_timestamp,
        ),
        uploader=arguments.uploader,
        extra_packages=tuple(arguments.extra_package),
        extra_repositories=tuple(arguments.extra_repository),
        extra_keys=tuple(arguments.extra_repository_key),
        commands=_commands(arguments),
        tests=_tests(arguments),
        purge_session=arguments.purge_session,
        trace=arguments.trace,
        twice=arguments.twice,
        log_file=arguments.log,
        quiet=arguments.quiet,
        one_of_several=arguments.only is not None,
        verbose=arguments.verbose,
    )


def _output(arguments: argparse.Namespace) -> Path:
    if arguments.output is not None:
        return _path(arguments.output)
    return obtain.output_of(arguments.packages[arguments.only or 0])


def _path(text: str) -> Path:
    try:
        return options.path(text)
    except argparse.ArgumentTypeError as error:
        raise Misuse(f"The path {text!r} {error}") from None


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


def _cache(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if arguments.what == "list":
        print("\n".join(dependency_layers.summary(dependency_layers.all_layers())))
        return 0
    if inside is None:
        return _supervise(arguments, words)
    for line in dependency_layers.summary(dependency_layers.prune(arguments.size * 1024**2)):
        print(f"removed {line}")
    return 0


def _list_sessions(_arguments: argparse.Namespace, _words: Sequence[str], _inside: Inside | None) -> int:
    for each in kept_sessions.every():
        print(f"{each.name:48} {timestamp(each.made)}  {each.stage:12} {each.base}")
    return 0


def _enter(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    kept = kept_sessions.find(arguments.session_name)
    if inside is None:
        user_namespace.check_fuse()
        return _supervise(arguments, words)
    return interactive.enter(
        kept,
        arguments.words,
        inside.directory,
        changing=arguments.verb == "enter",
        as_builder=arguments.as_builder,
    )


def _discard(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is None:
        kept_sessions.find(arguments.session_name)
        return _supervise(arguments, words)
    kept_sessions.discard(arguments.session_name)
    return 0


def _pbuilder(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is not None:
        return pbuilder.run(arguments.base, arguments.words, inside.directory)
    pbuilder.check_verb(arguments.words)
    base_facts.check_ours(bases.find(arguments.base))
    # It mounts the machine's sysfs, which no other user namespace may.
    return supervisor.supervise(words, user_namespace=False)


def _schroot_config(arguments: argparse.Namespace, _words: Sequence[str], _inside: Inside | None) -> int:
    name, entry = schroot.entry(arguments.base, arguments.name, arguments.quota)
    if not arguments.install:
        print(entry, end="")
        return 0
    for path in schroot.install(name, entry):
        print(f"wrote {path}")
    schroot.check_mount_helper()
    return 0


def _completion(arguments: argparse.Namespace, _words: Sequence[str], _inside: Inside | None) -> int:
    # It alone needs the parsers of cowfs, and with them trio.
    from builder.command import completion

    print(completion.script(arguments.shell, arguments.command), end="")
    return 0


def _show_configuration(arguments: argparse.Namespace, _words: Sequence[str], _inside: Inside | None) -> int:
    held = configuration.in_force(options.parser(), arguments.settings)
    if arguments.json:
        print(json.dumps(held, indent=1))
    else:
        print("\n".join(configuration.as_toml(held)))
    return 0


ACTS: Mapping[str, Callable[[argparse.Namespace, Sequence[str], Inside | None], int]] = {
    "build": _build,
    "create": _create,
    "cache": _cache,
    "completion": _completion,
    "config": _show_configuration,
    "sessions": _list_sessions,
    "enter": _enter,
    "fork": _enter,
    "discard": _discard,
    "list": _list_bases,
    "update": _update,
    "remove": _remove,
    "shell": _work_in,
    "login": _work_in,
    "run": _work_in,
    "execute": _work_in,
    "pbuilder": _pbuilder,
    "schroot-config": _schroot_config,
}


# These touch no tree, and what they print is for programs.
PRINTING = ("completion", "config", "schroot-config")


def main() -> int:
    """Run the command; the exit code. 1: it could not be done, 2: what was asked for makes no sense."""
    return endings.run("cowbuild", _main)


def _main() -> int:
    # Where chroot and ip are; a plain user's search path lacks it.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    words = sys.argv[1:]
    inside = None
    try:
        arguments = options.parse(words)
        if arguments.configuration is None:
            words = [*arguments.configured, *words]
        if arguments.session is not None:
            inside = Inside(tuple(arguments.session), arguments.lifeline)
            supervisor.obey(inside.lifeline)
            # A build says it in its log.
            if arguments.namespace_refused and arguments.verb not in ("build", "cache", "discard", "remove"):
                print(f"cowbuild: {user_namespace.without_namespace(arguments.namespace_refused)}", file=sys.stderr)
        elif arguments.verb not in PRINTING:
            private.close(
                [
                    bases.bases_directory(),
                    *bases.bases_directory().glob("*/"),
                    dependency_layers.where(),
                    kept_sessions.sessions_directory(),
                ]
            )
        return ACTS[arguments.verb](arguments, words, inside)
    except Problem as problem:
        print(f"cowbuild: {problem}", file=sys.stderr)
        for line in problem.hint.splitlines():
            print(f"    {line}", file=sys.stderr)
        return problem.exit_code
    except Interrupted as interrupted:
        return 128 + interrupted.signal_number


if __name__ == "__main__":
    sys.exit(main())
