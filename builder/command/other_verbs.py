"""The verbs about other programs and about cowbuild itself: pbuilder, schroot, completion, configuration."""

from __future__ import annotations

import argparse

from builder.command.base_verbs import add_base
from builder.command.verb import Inside, Outside

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

    pbuilder.check_verb(arguments.words)
    base_facts.check_ours(bases.find(arguments.base))
    # It mounts the machine's sysfs, which no other user namespace may.
    return outside.work_inside(user_namespace=False)


def run_pbuilder(arguments: argparse.Namespace, inside: Inside) -> int:
    from builder.interop import pbuilder

    return pbuilder.run(arguments.base, arguments.words, inside.directory)


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
