"""The program autopkgtest-virt-cowfs: sessions of cowbuild as testbeds of autopkgtest, and of sbuild's mode so named.

autopkgtest's own library speaks the protocol (README.virtualisation-server) and asks here for what is ours: to open a
testbed, which is one command in a session that waits for the end of its input; to name what makes other commands run
beside it; to close it, by that end. So it goes also when this program is killed.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import subprocess
import sys
from typing import Any, TextIO, cast

from builder.debian import architectures
from builder.debian.base_facts import architecture
from builder.problems import Problem, tell
from builder.session import held
from builder.session.sandbox import Sandbox
from builder.session.surroundings import VARIABLES
from builder.store import bases

LIBRARY = "/usr/share/autopkgtest/lib"

# Everything that a test changes is gone after revert, users and packages too.
CAPABILITIES = ("revert", "revert-full-system", "root-on-testbed")


class Testbed:
    """What autopkgtest's library calls, by these names."""

    def __init__(self, library: Any, base: str) -> None:
        """Problem when there is no such base."""
        self._library = library
        self._base = base
        tree = bases.find(base)
        self._sandbox = Sandbox(
            tree,
            started_with=architectures.personality(architecture(tree)),
            environment={**VARIABLES, "HOME": "/root"},
        )
        self._holder: subprocess.Popen[bytes] | None = None

    def hook_open(self) -> None:
        """Open a session, and tell the library how commands are run in it."""
        self._holder, process = held.start(["run", self._base], "cat", stdin=subprocess.PIPE)
        if process is None:
            self._holder.communicate()
            self._library.bomb(f"no session over the base {self._base} could be had")
        else:
            self._library.auxverb = self._sandbox.beside(process)

    def hook_downtmp(self, path: str | None) -> str:
        """A directory in the testbed for the library's own use; the same again after a revert."""
        make = self._library.downtmp_mktemp
        if len(inspect.signature(make).parameters) == 1:  # before autopkgtest 5.48
            return str(make(path))
        return str(make(self.hook_capabilities(), path, None))

    def hook_revert(self) -> None:
        self.hook_cleanup()
        self.hook_open()

    def hook_cleanup(self) -> None:
        """Close the session, with everything that runs in it."""
        self._library.downtmp = None
        if self._holder is not None:
            self._holder.communicate()
            self._holder = None

    def hook_capabilities(self) -> list[str]:
        return list(CAPABILITIES)


class EndedInput:
    """Standard input for the library, which by itself would wait for ever when who gave the orders is gone."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def readline(self) -> str:
        line = sys.__stdin__.readline() if sys.__stdin__ is not None else ""
        if not line:
            raise self._library.Quit(1, "")
        return line


PROGRAM = "autopkgtest-virt-cowfs"


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Started by autopkgtest: autopkgtest PACKAGE -- cowfs BASE. See docs/autopkgtest.md.",
    )
    known.add_argument("-d", "--debug", action="store_true", help="say what is done")
    known.add_argument("base", metavar="BASE", help="a name that cowbuild knows, or a directory")
    return known


def main() -> int:
    """Serve the protocol on standard input and output until told to quit."""
    arguments = parser().parse_args()
    try:
        if not os.path.isdir(LIBRARY):
            raise Problem("autopkgtest is missing", "apt-get install autopkgtest")
        sys.path.append(LIBRARY)
        library: Any = importlib.import_module("VirtSubproc")
        library.progname = PROGRAM
        library.caller = Testbed(library, arguments.base)
        sys.stdin = cast(TextIO, EndedInput(library))
        if arguments.debug:
            library.adtlog.verbosity = 2
    except Problem as problem:
        tell(PROGRAM, problem)
        return 1
    library.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
