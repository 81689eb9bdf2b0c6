"""The verbs that make, list, change and remove bases, and that work in sessions over them."""

from __future__ import annotations

import argparse
from pathlib import Path

from builder.command.arguments import YES_OR_NO, comma_list, path, path_of
from builder.command.verb import Inside, Outside
from builder.problems import Problem

# What a verb needs is imported when it runs: the help shows the names of all, and no other verb is asked for.

# mmdebstrap's.
VARIANTS = (
    *("extract", "custom", "essential", "apt", "required", "minbase", "buildd", "important", "debootstrap", "-"),
    "standard",
)


def add_create(verb: argparse.ArgumentParser) -> None:
    from builder.debian import apt

    verb.add_argument("target", metavar="BASE", help="a name, or the directory to make")
    verb.add_argument("--suite", "-d", "--dist", help="the Debian release; default: the machine's")
    verb.add_argument("--arch", metavar="A", help="its architecture; default: the machine's")
    verb.add_argument("--variant", metavar="V", choices=VARIANTS, default="buildd", help="default: buildd")
    verb.add_argument("--include", metavar="P,P", type=comma_list, default=(), help="packages to have in it")
    verb.add_argument("--components", metavar="C,C", type=comma_list, default=("main",), help="default: main")
    verb.add_argument("--mirror", metavar="URI", help="default: as the machine's apt is set up")
    verb.add_argument("--tarball", metavar="FILE", help="unpack this instead of asking an archive")
    verb.add_argument("--keyring", metavar="FILE", type=path, default=apt.KEYRING, help="default: Debian's")


def add_base(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("base", metavar="BASE")


def add_update(verb: argparse.ArgumentParser) -> None:
    from builder.command.build_options import add_apt_proxy

    add_base(verb)
    add_apt_proxy(verb)


def add_shell(verb: argparse.ArgumentParser) -> None:
    _add_work(verb)
    verb.set_defaults(words=["/bin/bash", "-l"])


def add_run(verb: argparse.ArgumentParser) -> None:
    _add_work(verb)
    verb.add_argument("words", metavar="COMMAND", nargs="+", help="after --, where it has options of its own")


def _add_work(verb: argparse.ArgumentParser) -> None:
    add_base(verb)
    verb.add_argument(
        "--save", "--save-after-login", action=YES_OR_NO, default=False, help="keep the result as the base"
    )
    verb.add_argument("--as-builder", action=YES_OR_NO, default=False, help="as the user who builds, not as root")
    verb.add_argument("--enable-network", action=YES_OR_NO, default=True)
    verb.add_argument(
        "--in-union", metavar="DIR", type=comma_list, default=(), help="tmp: /tmp, which by itself is a plain directory"
    )


def check_create(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.debian import make_base
    from builder.store import bases

    if arguments.tarball is not None:
        make_base.check_tarball(path_of(arguments.tarball))
    else:
        make_base.check_keyring(arguments.keyring)
    at = _place_of(arguments.target)
    if at is not None:
        return outside.work_inside(at.parent)
    with bases.room_for(arguments.target) as home:
        return outside.work_inside(home)


def create(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.session import interactive
    from builder.store import bases, dependency_layers

    at = _place_of(arguments.target)
    made = _make(arguments, inside)
    _place_of(arguments.target)  # another process may have made it meanwhile
    if at is None:
        interactive.replace(arguments.target, made)
    else:
        bases.put_at(at, made)
        dependency_layers.remove_stale()  # of one that had this name before
    return 0


def _make(arguments: argparse.Namespace, inside: Inside) -> Path:
    from builder.debian import apt, make_base

    if arguments.tarball is not None:
        return make_base.unpack(path_of(arguments.tarball), inside.directory)
    wanted = make_base.BaseOptions(
        suite=arguments.suite or apt.machine_suite(),
        architecture=arguments.arch,
        variant=arguments.variant,
        include=arguments.include,
        components=arguments.components,
        mirror=arguments.mirror,
        keyring=arguments.keyring,
    )
    return make_base.create(wanted, inside.directory)


def _place_of(target: str) -> Path | None:
    """Where a new base goes that is not to have a name. Problem where the name or the place is taken."""
    from builder.debian import make_base
    from builder.store import bases

    if bases.is_path(target):
        at = path_of(target)
        make_base.check_free(at)
        return at
    if target in bases.names():
        raise Problem(f"The base {target} exists already", f"cowbuild update {target}, or remove {target} first")
    return None


def list_bases(_arguments: argparse.Namespace, _outside: Outside) -> int:
    import time

    from builder.debian import base_facts
    from builder.store import bases

    for name in bases.names():
        tree = bases.find(name)
        made = time.strftime("%Y-%m-%d", time.gmtime(tree.lstat().st_ctime))
        print(f"{name:24} {base_facts.code_name(tree):12} {base_facts.architecture(tree):10} {made}  {tree}")
    return 0


def check_update(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.debian import base_facts
    from builder.store import bases

    base_facts.check_ours(bases.find(arguments.base))
    return outside.work_inside(_home(arguments.base))


def update(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.session import interactive

    return interactive.update(arguments.base, inside.directory, arguments.apt_proxy)


def check_remove(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.session import supervisor
    from builder.store import bases

    if "/" in arguments.base:
        return outside.work_inside(bases.removable(arguments.base).parent)
    supervisor.remove_abandoned(bases.home_of(arguments.base))
    return outside.work_inside()


def remove(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.session import interactive
    from builder.store import bases, dependency_layers

    if "/" in arguments.base:
        bases.remove_at(arguments.base, inside.directory)
        dependency_layers.remove_stale()
    else:
        interactive.remove(arguments.base)
    return 0


def check_work(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder import user_namespace
    from builder.debian import base_facts
    from builder.store import bases

    user_namespace.check_fuse()
    base_facts.check_ours(bases.find(arguments.base))
    return outside.work_inside(*([_home(arguments.base)] if arguments.save else []))


def work(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.session import interactive

    return interactive.work_in(
        arguments.base,
        arguments.words,
        inside.directory,
        save=arguments.save,
        as_builder=arguments.as_builder,
        network=arguments.enable_network,
        in_union=arguments.in_union,
    )


def _home(name: str) -> Path:
    """The directory that a base is in which is to be replaced. Problem where there is none."""
    from builder import user_namespace
    from builder.store import bases

    user_namespace.check_fuse()
    tree = bases.find(name)
    return tree.parent if bases.is_path(name) else bases.directory(name)
