"""Debian's pbuilder, unmodified, with a session as its build place, for which it would otherwise unpack a tarball."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from builder.debian import architectures
from builder.debian.base_facts import architecture
from builder.problems import Misuse, Problem
from builder.process import output
from builder.session.sandbox import DEVICES_SCRIPT
from builder.session.session import mounted
from builder.store import bases

# Those that work in a build place; the others make or change what it is unpacked from.
VERBS = ("build", "login", "execute")


# Its usual resolver needs aptitude in the base, where debootstrap's bases, but not ours, have it.
CONFIGURATION = "PBUILDERSATISFYDEPENDSCMD=/usr/lib/pbuilder/pbuilder-satisfydepends-apt\n"


def run(name: str, words: Sequence[str], directory: Path) -> int:
    """Run `pbuilder WORDS` with its build place mounted over a base; its exit code. Problem when it cannot be had."""
    verb = words[0].removeprefix("--")
    configuration = directory / "pbuilderrc"
    configuration.write_text(CONFIGURATION)
    with bases.base_in_use(name) as tree:
        architectures.enable(architecture(tree))
        with mounted([tree], directory) as session:
            root = session.root
            # pbuilder relies on the device nodes of debootstrap's trees, and mounts only the rest of /dev.
            output(["sh", "-ec", f'cd "$1"\n{DEVICES_SCRIPT}', "sh", root])
            command: list[str | Path] = [
                *("pbuilder", verb, "--configfile", configuration),
                *("--no-targz", "--buildplace", root, "--internal-chrootexec", f"chroot {root}"),
                *words[1:],
            ]
            # What it does not need itself it passes on to the build, where that directory is not.
            environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
            try:
                return subprocess.run(command, env=environment, check=False).returncode
            except FileNotFoundError:
                raise Problem("pbuilder is missing", "apt-get install pbuilder") from None


def check_verb(words: Sequence[str]) -> None:
    """Problem for a verb that pbuilder does not have, or that needs more than a session."""
    verb = words[0].removeprefix("--") if words else ""
    if verb not in VERBS:
        raise Misuse(
            f"pbuilder's {verb or 'verb'} does not work in a session, only {', '.join(VERBS)}",
            "Bases are made and changed by cowbuild create, update, and shell --save.",
        )
