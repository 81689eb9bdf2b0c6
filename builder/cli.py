"""The command `cowbuild`: its verbs and what they do with their options."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from builder import apt, base, build, maintain, rootless, store, supervisor
from builder.log import Interrupted, Problem
from builder.process import output

DESCRIPTION = """\
Builds Debian packages in throw-away copy-on-write sessions over a clean base.

  cowbuild build hello_2.10-3.dsc             build over a base of the machine's suite, made when it is missing
  cowbuild create sid --suite sid             make a base and give it a name; a path with a slash keeps it there
  cowbuild build x.dsc --base sid             build over it
"""


# The type of add_subparsers' result, for which argparse has no public name.
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


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
    _add_base_verbs(verbs)
    return top


def _add_create(verb: argparse.ArgumentParser) -> None:
    verb.set_defaults(act=_create)
    verb.add_argument("target", metavar="BASE", help="a name, or the directory to make")
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
    verb.add_argument("--base", "-c", "--chroot", metavar="BASE", help="a name or a directory; default: SUITE-ARCH")
    verb.add_argument("--dist", "-d", metavar="SUITE", help="where no base is given; default: the machine's suite")
    verb.add_argument("--arch", metavar="A", help="where no base is given; default: the machine's")
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


def _add_base_verbs(verbs: Verbs) -> None:
    listing = verbs.add_parser("list", help="list the bases that have a name")
    listing.set_defaults(act=_list_bases)
    update = verbs.add_parser("update", help="upgrade a base", description="Builds on the old state go on undisturbed.")
    update.set_defaults(act=_update)
    update.add_argument("base", metavar="BASE")
    remove = verbs.add_parser("remove", help="remove a base")
    remove.set_defaults(act=_remove)
    remove.add_argument("base", metavar="BASE")
    shell = verbs.add_parser("shell", aliases=["login"], help="a shell in a session over a base")
    shell.set_defaults(act=_work_in, words=["/bin/bash", "-l"])
    run = verbs.add_parser("run", aliases=["execute"], help="a command in a session over a base")
    run.set_defaults(act=_work_in)
    for verb in (shell, run):
        verb.add_argument("base", metavar="BASE")
        verb.add_argument("--save", "--save-after-login", action="store_true", help="keep the result as the base")
        verb.add_argument("--as-builder", action="store_true", help="as the user who builds, not as root")
        verb.add_argument("--enable-network", action=argparse.BooleanOptionalAction, default=True)
    run.add_argument("words", metavar="COMMAND", nargs="+", help="after --, where it has options of its own")


def _path(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split() if part)


def _base_options(arguments: argparse.Namespace, suite: str) -> base.BaseOptions:
    return base.BaseOptions(
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
    path = _path(target) if store.is_path(target) else None
    if path is not None:
        base.check_free(path)
    elif target in store.names():
        raise Problem(f"The base {target} exists already", f"cowbuild update {target}, or remove {target} first")
    if inside is None:
        return supervisor.supervise(words, parent=store.directory(target) if path is None else path.parent)
    made = base.create(_base_options(arguments, arguments.suite or apt.machine_suite()), inside.directory)
    if path is None:
        store.publish(target, made)
    else:
        base.check_free(path)
        made.rename(path)
    return 0


def _list_bases(_arguments: argparse.Namespace, _words: Sequence[str], _inside: Inside | None) -> int:
    for name in store.names():
        tree = store.find(name)
        made = time.strftime("%Y-%m-%d", time.gmtime(tree.lstat().st_ctime))
        print(f"{name:24} {base.code_name(tree):12} {base.architecture(tree):10} {made}  {tree}")
    return 0


def _update(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is None:
        return supervisor.supervise(words, parent=_home(arguments.base))
    return maintain.update(arguments.base, inside.directory)


def _remove(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is None:
        store.find(arguments.base)
        return supervisor.supervise(words)
    store.remove(arguments.base)
    return 0


def _work_in(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is None:
        rootless.check_fuse()
        base.check_ours(store.find(arguments.base))
        return supervisor.supervise(words, parent=_home(arguments.base) if arguments.save else None)
    return maintain.work_in(
        arguments.base,
        arguments.words,
        inside.directory,
        save=arguments.save,
        as_builder=arguments.as_builder,
        network=arguments.enable_network,
    )


def _home(name: str) -> Path:
    """The directory of a base that is to be replaced; Problem when it has no name, for then it cannot be."""
    rootless.check_fuse()
    if store.is_path(name):
        raise Problem("Only a base with a name can be replaced", "cowbuild list")
    store.find(name)
    return store.directory(name)


def _build(arguments: argparse.Namespace, words: Sequence[str], inside: Inside | None) -> int:
    if inside is not None:
        with store.held(arguments.base) as tree:
            return build.build(_build_options(arguments, tree), inside.directory)
    if arguments.base is None:
        arguments.base = _usual_base(arguments)
        words = ["build", "--base", arguments.base, *words[1:]]
    build.check(_build_options(arguments, store.find(arguments.base)))
    return supervisor.supervise(words)


def _usual_base(arguments: argparse.Namespace) -> str:
    """The name of the base for the suite and architecture wanted; it is made where it is missing."""
    suite = arguments.dist or apt.machine_suite()
    architecture = arguments.arch or output(["dpkg", "--print-architecture"]).strip()
    name = f"{suite}-{architecture}"
    if name not in store.names():
        print(f"cowbuild: there is no base {name} yet; making it", flush=True)
        create = ["create", name, "--suite", suite, "--arch", architecture]
        if (code := _create(parser().parse_args(create), create, None)) != 0:
            raise Problem(f"The base {name} could not be made (exit code {code})")
    return name


def _build_options(arguments: argparse.Namespace, tree: Path) -> build.BuildOptions:
    return build.BuildOptions(
        dsc=arguments.dsc,
        base=tree,
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
