"""The verbs about other programs and about cowbuild itself: pbuilder, schroot, completion, configuration."""

from __future__ import annotations

import argparse
import json

from builder.command import completion, configuration
from builder.command.base_verbs import add_base
from builder.command.verb import Inside, Outside
from builder.debian import base_facts
from builder.interop import pbuilder, schroot
from builder.store import bases


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


def check_pbuilder(arguments: argparse.Namespace, outside: Outside) -> int:
    pbuilder.check_verb(arguments.words)
    base_facts.check_ours(bases.find(arguments.base))
    # It mounts the machine's sysfs, which no other user namespace may.
    return outside.work_inside(user_namespace=False)


def run_pbuilder(arguments: argparse.Namespace, inside: Inside) -> int:
    return pbuilder.run(arguments.base, arguments.words, inside.directory)


def configure_schroot(arguments: argparse.Namespace, _outside: Outside) -> int:
    name, entry = schroot.entry(arguments.base, arguments.name, arguments.quota)
    if not arguments.install:
        print(entry, end="")
        return 0
    for path in schroot.install(name, entry):
        print(f"wrote {path}")
    schroot.check_mount_helper()
    return 0


def show_completion(arguments: argparse.Namespace, outside: Outside) -> int:
    print(completion.script(arguments.shell, arguments.command, outside.parser()), end="")
    return 0


def show_configuration(arguments: argparse.Namespace, outside: Outside) -> int:
    held = configuration.in_force(outside.parser(), arguments.settings)
    if arguments.json:
        print(json.dumps(held, indent=1))
    else:
        print("\n".join(configuration.as_toml(held)))
    return 0
