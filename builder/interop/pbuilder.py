"""Debian's pbuilder, unmodified, with a session as its build place, for which it would otherwise unpack a tarball."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.debian import architectures
from builder.debian.base_facts import architecture
from builder.interop.pbuilder_options import as_words, split
from builder.problems import Misuse, Problem
from builder.process import output
from builder.session import interactive
from builder.session.sandbox import DEVICES_SCRIPT, MOUNT_SCRIPT
from builder.session.session import mounted
from builder.store import bases, dependency_layers

VERBS = ("create", "update", "build", "login", "execute", "debuild")

SAVING = ("save-after-login", "save-after-exec")

DIED = 128
"""From this exit code on a signal ended it. With others, which may be of a shell's last command, cowbuilder saves."""

# pbuilder's usual resolver needs aptitude in the base, which its own bases, but not those of mmdebstrap, have.
WITHOUT_APTITUDE = "PBUILDERSATISFYDEPENDSCMD=/usr/lib/pbuilder/pbuilder-satisfydepends-apt\n"


@dataclass(frozen=True)
class Request:
    """What pbuilder is asked for."""

    verb: str
    options: list[str]
    arguments: list[str]
    saves: bool
    """Whether the session is to become the base."""


def understood(words: Sequence[str]) -> Request:
    """What these words, which would follow pbuilder's name, ask for. Misuse."""
    verb = words[0].removeprefix("--") if words else ""
    if verb not in VERBS:
        raise Misuse(f"pbuilder's {verb or 'verb'} is not about a session, only {', '.join(VERBS)} are")
    said, arguments = split(words[1:], "pbuilder")
    # pbuilder would save in a tarball.
    passed = [(option, value) for option, value in said if option.name not in SAVING]
    return Request(verb, as_words(passed), arguments, saves=verb == "update" or len(passed) < len(said))


def create(at: Path, request: Request, directory: Path) -> int:
    """Make a base at a path by pbuilder's create, in the private `directory` beside it; pbuilder's exit code."""
    made = directory / "base"
    made.mkdir(0o755)
    if (code := _pbuilder(["create", *request.options, "--no-targz", "--buildplace", made])) == 0:
        bases.put_at(at, made)
        dependency_layers.remove_stale()  # of one that had this name before
    return code


def run(name: str, request: Request, directory: Path) -> int:
    """Run pbuilder with its build place mounted over a base; its exit code. Problem when it cannot be had.

    Where it is to change the base, `directory` is beside that.
    """
    made = None
    with bases.base_in_use(name) as tree:
        architectures.enable(architecture(tree))
        configuration = directory / "pbuilderrc"
        configuration.write_text("" if os.path.lexists(tree / "usr/bin/aptitude") else WITHOUT_APTITUDE)
        with mounted([tree], directory) as session:
            root = session.root
            # pbuilder relies on the device nodes of debootstrap's trees, and mounts only the rest of /dev.
            output(["sh", "-ec", f'cd "$1"\n{DEVICES_SCRIPT}{MOUNT_SCRIPT}', "sh", root])
            code = _pbuilder(
                [
                    *(request.verb, "--configfile", str(configuration), *request.options),
                    # Last, since a configuration file may name another build place.
                    *("--no-targz", "--buildplace", str(root), "--internal-chrootexec", f"chroot {root}"),
                    *("--", *request.arguments),
                ]
            )
            if request.saves and (code == 0 or (request.verb != "update" and code < DIED)):
                output(["umount", "-n", "--recursive", root / "dev"])
                output(["chroot", root, "apt-get", "clean"])
                # What pbuilder did not unmount, because it failed, is none of the base.
                made = interactive.copied(root, directory, "--one-file-system")
    if made is not None:
        interactive.replace(name, made)
    return code


def _pbuilder(words: Sequence[str | Path]) -> int:
    # What it does not need itself it passes on to the build, where that directory is not.
    environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    try:
        return subprocess.run(["pbuilder", *words], env=environment, check=False).returncode
    except FileNotFoundError:
        raise Problem("pbuilder is missing", "apt-get install pbuilder") from None
