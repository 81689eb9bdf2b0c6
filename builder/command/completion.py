"""What a shell needs to complete the words of `cowbuild` and `cowfs`, made from their parsers by shtab."""

from __future__ import annotations

import argparse
from typing import Any

from builder.command import configuration
from builder.problems import Problem

# What stands for a word of this kind, after each shell's own function for it: names are asked for when they are wanted.
BASES = {"bash": "_cowbuild_bases", "zsh": "_cowbuild_bases"}
SESSIONS = {"bash": "_cowbuild_sessions", "zsh": "_cowbuild_sessions"}
BUILT = {"bash": "_cowbuild_built", "zsh": "_cowbuild_built"}
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files"}
DIRECTORIES = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/"}

KINDS = {
    "BASE": BASES,
    "SESSION": SESSIONS,
    "PACKAGE": FILES,
    "SOURCE": BUILT,
    "FILE": FILES,
    "DEB": FILES,
    "DIR": DIRECTORIES,
    "LAYER": DIRECTORIES,
    "MOUNTPOINT": DIRECTORIES,
}
"""By what an option's or argument's value is called in the help."""

REPAIRS = {'_choices"\n': '_choices[@]"\n', "local IFS=$'\\n'\n": ""}
"""What is wrong in the bash scripts of shtab 1.5.5, which Debian 12 has: of several choices it knew the first only."""

PREAMBLES = {
    "bash": """\
_cowbuild_bases() { compgen -W "$(cowbuild list 2>/dev/null | cut -d' ' -f1)" -- "$1"; compgen -d -- "$1"; }
_cowbuild_sessions() { compgen -W "$(cowbuild sessions 2>/dev/null | cut -d' ' -f1)" -- "$1"; }
_cowbuild_built() { compgen -W "$(cowbuild history 2>/dev/null | awk '$2 ~ /Z$/ {print $3}')" -- "$1"; }
""",
    "zsh": """\
_cowbuild_bases() { compadd -- ${(f)"$(cowbuild list 2>/dev/null | cut -d' ' -f1)"}; _files -/ }
_cowbuild_sessions() { compadd -- ${(f)"$(cowbuild sessions 2>/dev/null | cut -d' ' -f1)"} }
_cowbuild_built() { compadd -- ${(f)"$(cowbuild history 2>/dev/null | awk '$2 ~ /Z$/ {print $3}')"} }
""",
}


def script(shell: str, command: str, cowbuild: argparse.ArgumentParser) -> str:
    """For bash or zsh; `cowbuild` is that command's own parser. Problem where shtab is missing."""
    try:
        # Not in the dependencies: a package has the scripts made already.
        import shtab
    except ImportError:
        raise Problem(
            "The Python package shtab, which makes completions, is missing",
            "apt-get install python3-shtab    # or: pipx inject cowfs shtab",
        ) from None
    vars(shtab)["FLAG_OPTION"] = (*shtab.FLAG_OPTION, argparse.BooleanOptionalAction)
    parser = cowbuild if command == "cowbuild" else _cowfs()
    for each in configuration.parsers_of(parser).values():
        for action in each._actions:
            if action.choices is not None and not isinstance(action, argparse._SubParsersAction):
                action.choices = list(action.choices)  # which may be the keys of a table
            elif isinstance(action.metavar, str) and action.choices is None:
                # shtab looks for this attribute.
                vars(action)["complete"] = KINDS.get(action.metavar, {"bash": "", "zsh": " "})
    preambles: Any = PREAMBLES  # its annotation says str
    made: str = shtab.complete(parser, shell, root_prefix=command, preamble=preambles)
    if shell == "bash":
        for wrong, right in REPAIRS.items():
            made = made.replace(wrong, right)
        # Where nothing else fits, files; shtab's own line leaves them out.
        return f"{made}\ncomplete -o bashdefault -o default -F _shtab_{command} {command}\n"
    # The first word may be a directory as well as a verb.
    described = f"_describe '{command} commands' _commands"
    return made.replace(described, f"{described}\n  _files -/") if command == "cowfs" else made


def _cowfs() -> argparse.ArgumentParser:
    """Its verbs with their parsers, and the options of mounting, as one parser."""
    from cowfs.command.main import parsers

    known = parsers()
    top = argparse.ArgumentParser(prog="cowfs", add_help=False)
    verbs = top.add_subparsers()
    for name, parser in known.items():
        if name:
            verbs.add_parser(name, parents=[parser], add_help=False, help=(parser.description or "").rstrip("."))
    for action in known[""]._actions:
        if action.option_strings:
            top._add_action(action)
    return top
