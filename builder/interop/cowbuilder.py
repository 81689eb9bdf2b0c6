"""The command cowbuilder, as pdebuild and git-pbuilder call it, on sessions: `cowbuild-cowbuilder`.

As cowbuilder does, it leaves the work to pbuilder and gives it a build place; `cowbuild pbuilder` makes that a session.
So hooks, bind mounts, results, logs and everything of pbuilderrc(5) are pbuilder's own.
"""

from __future__ import annotations

import argparse
import getopt
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from builder.interop.pbuilder_options import OPERATIONS, TABLE, Is, Said, as_words, split
from builder.problems import Misuse, Problem, tell
from builder.process import output
from builder.session.supervisor import COWBUILD
from cowfs import endings

PROGRAM = "cowbuild-cowbuilder"
USAGE = "cowbuilder OPERATION [OPTION...] [FILE.dsc | SCRIPT ARGUMENT...]"

# As a first word an operation has shorter names, too.
WORDS = {name: name for name in OPERATIONS} | {
    "up": "update",
    "u": "update",
    "b": "build",
    "l": "login",
    "e": "execute",
}

BASE = "/var/cache/pbuilder/base.cow"
LOADED = ("/usr/share/pbuilder/pbuilderrc", "/etc/pbuilderrc", "~/.pbuilderrc")

# What cowbuilder's dumpconfig shows, in its words -> as pbuilderrc has it.
SETTINGS = {
    "buildplace": "BUILDPLACE",
    "buildresult": "BUILDRESULT",
    "basepath": "BASEPATH",
    "mirror": "MIRRORSITE",
    "distribution": "DISTRIBUTION",
    "components": "COMPONENTS",
    "debbuildopts": "DEBBUILDOPTS",
}

# What such a file prints is for the user to see, and is no setting.
READ = """
exec 3>&1 1>&2
for file; do
    [ ! -e "$file" ] || . "$file" || exit
done
for name in BUILDPLACE BUILDRESULT BASEPATH MIRRORSITE DISTRIBUTION COMPONENTS DEBBUILDOPTS; do
    printf '%s=%s\\0' "$name" "${!name-}" >&3
done
"""


def parser() -> argparse.ArgumentParser:
    """What is shown as help; understood() reads command lines as cowbuilder does."""
    shown = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=USAGE,
        add_help=False,
        description="Called by pdebuild and git-pbuilder in place of cowbuilder; see docs/pbuilder.md. The operation "
        "is an option or the first word. Options are those of cowbuilder(8) and pbuilder(8).",
    )
    for what in Is:
        group = shown.add_argument_group(what.value)
        for option in (each for each in TABLE if each.what is what):
            if option.has_value:
                group.add_argument(f"--{option.name}", metavar="VALUE", help=option.why)
            else:
                group.add_argument(f"--{option.name}", action="store_true", help=option.why)
    return shown


@dataclass
class Request:
    """What a command line asks for."""

    operation: str = ""
    given: dict[str, str] = field(default_factory=dict)
    """Options with values that are done here."""
    passed: Said = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)


def understood(words: Sequence[str]) -> Request:
    """What these words, which follow cowbuilder's name, ask for. Misuse."""
    said, arguments = split(words, "cowbuilder", getopt.gnu_getopt)
    request = Request(arguments=arguments)
    for option, value in said:
        if option.name in OPERATIONS:
            request.operation = option.name
        elif option.what is Is.DONE:
            request.given[option.name] = value
        else:
            request.passed.append((option, value))
    if not request.operation:
        if not arguments or arguments[0] not in WORDS:
            raise Misuse("cowbuilder: no operation specified", USAGE)
        request.operation = WORDS[arguments.pop(0)]
    wanted = {"build": "a .dsc file", "execute": "a script"}.get(request.operation)
    if wanted is not None and not arguments:
        raise Misuse(f"cowbuilder: {request.operation} wants {wanted}")
    if arguments and request.operation in ("create", "update"):
        raise Misuse(f"cowbuilder: too many parameters for {request.operation}: {' '.join(arguments)}")
    return request


def settings(configurations: Sequence[str]) -> dict[str, str]:
    """What pbuilder's configuration says, as a shell reads it: the files that pbuilder reads, and then these.

    Problem where there is none, or where the shell does not understand it.
    """
    if not Path(LOADED[0]).exists():
        raise Problem("pbuilder is missing", "apt-get install pbuilder")
    if missing := [each for each in configurations if not Path(each).is_file()]:
        raise Problem(f"There is no configuration file {missing[0]}")
    files = [os.path.expanduser(each) for each in (*LOADED, *configurations)]
    # With a slash the shell does not look for it in its search path.
    said = output(["bash", "-c", READ, "pbuilderrc", *map(os.path.abspath, files)])
    found = dict(line.split("=", 1) for line in said.split("\0") if line)
    if not found.keys() >= set(SETTINGS.values()):
        raise Problem("pbuilder's configuration ends the shell that reads it", "Does a pbuilderrc say `exit`?")
    return found


def run(words: Sequence[str]) -> int:
    """Do what cowbuilder would; the exit code. Problem."""
    request = understood(words)
    if request.operation in ("help", "version"):
        print(parser().format_help(), end="")
        return 0
    held = settings([value for option, value in request.passed if option.name == "configfile"])
    held["BASEPATH"] = os.path.abspath(request.given.get("basepath") or held["BASEPATH"] or BASE)
    held["BUILDPLACE"] = os.path.abspath(request.given.get("buildplace") or held["BUILDPLACE"])
    held["DISTRIBUTION"] = request.given.get("distribution") or held["DISTRIBUTION"] or "sid"
    if request.operation == "dumpconfig":
        print("dump config")
        for name, variable in SETTINGS.items():
            print(f"  {name}: {held[variable]}")
        return 0
    passed = ["--distribution", held["DISTRIBUTION"], *as_words(request.passed)]
    if request.operation == "clean":
        return subprocess.run(["pbuilder", "clean", *passed], check=False).returncode
    if request.operation != "create" and not Path(held["BASEPATH"]).is_dir():
        raise Problem(f"There is no base {held['BASEPATH']}", f"cowbuilder --create --basepath {held['BASEPATH']}")
    return _become_cowbuild(request, held, passed)


def _become_cowbuild(request: Request, held: Mapping[str, str], passed: Sequence[str]) -> NoReturn:
    """Problem where the build place is not to be had."""
    try:
        os.makedirs(held["BUILDPLACE"], exist_ok=True)
    except OSError as error:
        raise Problem(f"The build place {held['BUILDPLACE']} cannot be made: {error.strerror}") from None
    # Sessions are made where TMPDIR says.
    environment = {**os.environ, "TMPDIR": held["BUILDPLACE"]}
    command = [*COWBUILD, "pbuilder", held["BASEPATH"], request.operation, *passed, "--", *request.arguments]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)


def main() -> int:
    return endings.run("cowbuilder", _main)


def _main() -> int:
    try:
        return run(sys.argv[1:])
    except Problem as problem:
        tell("E", problem)
        # cowbuilder has no other.
        return 1


if __name__ == "__main__":
    sys.exit(main())
