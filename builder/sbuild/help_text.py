"""`--help`: every option of sbuild's, and what becomes of it here."""

from __future__ import annotations

from builder.sbuild.options import OPTIONS, How, Option
from builder.sbuild.variables import VARIABLES, Fate

BEGINNING = """\
Usage: cowbuild-sbuild [OPTIONS] [PACKAGE]

Builds as sbuild(1) does, which explains the options, in a throw-away session over a base of cowbuild. PACKAGE is a
source tree, a .dsc file or its address, NAME or NAME_VERSION; by itself the tree that one is in.
"""


def text() -> str:
    lines = [BEGINNING]
    for option in OPTIONS:
        names = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in option.names)
        argument = {"s": " TEXT", "i": " N", "": ""}[option.argument]
        lines.append(f"  {names + argument:44}{_becomes(option)}".rstrip())
    return "\n".join(lines)


def _becomes(option: Option) -> str:
    if option.how in (How.COMMAND, How.SHOWN):
        return ""
    variable = VARIABLES[option.variables[-1]]
    return "" if variable.fate is Fate.ACTS else f"{variable.fate.value.partition(':')[0]}: {variable.why}"
