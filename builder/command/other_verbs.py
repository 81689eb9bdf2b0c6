"""The verbs about other programs and about cowbuild itself: pbuilder, schroot, completion, configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

from builder.command.arguments import path_of
from builder.command.base_verbs import add_base
from builder.command.verb import Inside, Outside
from builder.problems import Misuse

# What a verb needs is imported when it runs: the help shows the names of all, and no other verb is asked for.


def add_pbuilder(verb: argparse.ArgumentParser) -> None:
    add_base(verb)
    verb.add_argument("words", metavar="VERB [OPTIONS]", nargs=argparse.REMAINDER, help="as pbuilder has them")


def add_schroot_config(verb: argparse.ArgumentParser) -> None:
    add_base(verb)
    verb.add_argument("--name", help="the chroot's; default: the base's, SUITE-ARCH for a directory")
    verb.add_argument("--quota", metavar="SIZE[,INODES]", help="limit of what a session may write")
    verb.add_argument("--install", action="store_true", help="write it, and the profile it needs, below /etc/schroot")


def add_completion(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("shell", choices=["bash", "zsh"])
    verb.add_argument("command", nargs="?", choices=["cowbuild", "cowfs"], default="cowbuild", help="default: cowbuild")


def add_configuration(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="for programs")


def add_doctor(verb: argparse.ArgumentParser) -> None:
    from builder.command import doctor

    doctor.add_doctor(verb)


def diagnose(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.command import doctor

    return doctor.diagnose(arguments, outside)


def check_pbuilder(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.debian import base_facts
    from builder.interop import pbuilder
    from builder.store import bases

    request, parents = pbuilder.understood(arguments.words), []
    if request.verb == "create":
        at = _path_for(arguments.base)
        parents = [at.parent]
    else:
        tree = bases.find(arguments.base)
        base_facts.architecture(tree)
        base_facts.check_ours(tree)
        if request.saves:
            parents = [tree.parent]
    # It mounts the machine's sysfs, which no other user namespace may.
    return outside.work_inside(*parents, user_namespace=False)


def run_pbuilder(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.interop import pbuilder

    request = pbuilder.understood(arguments.words)
    if request.verb == "create":
        return pbuilder.create(_path_for(arguments.base), request, inside.directory)
    return pbuilder.run(arguments.base, request, inside.directory)


def _path_for(base: str) -> Path:
    """Where pbuilder is to make a base. Misuse for a name, which bases of cowbuild's own making have."""
    from builder.debian import make_base

    if "/" not in base:
        raise Misuse(f"pbuilder makes a base at a path, and {base} is none", f"./{base}, or: cowbuild create {base}")
    at = path_of(base)
    make_base.check_free(at)
    return at


def configure_schroot(arguments: argparse.Namespace, _outside: Outside) -> int:
    from builder.interop import schroot

    name, entry = schroot.entry(arguments.base, arguments.name, arguments.quota)
    if not arguments.install:
        print(entry, end="")
        return 0
    for path in schroot.install(name, entry):
        print(f"wrote {path}")
    schroot.check_mount_helper()
    return 0


def show_completion(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.command import completion

    print(completion.script(arguments.shell, arguments.command, outside.parser()), end="")
    return 0


def show_configuration(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.command import configuration

    held = configuration.in_force(outside.parser(), arguments.settings)
    if arguments.json:
        import json

        print(json.dumps(held, indent=1))
    else:
        print("\n".join(configuration.as_toml(held)))
    return 0
