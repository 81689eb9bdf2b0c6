"""sbuild's external commands: the points of a build where the user's own commands run, and their percent escapes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.problems import Misuse

# Point -> its heading in the log.
INSIDE = {
    "chroot-setup": "Chroot Setup Commands",
    "chroot-update-failed": "Chroot-update Install Failed Commands",
    "build-deps-failed": "Build-Deps Install Failed Commands",
    "starting-build": "Starting Timed Build Commands",
    "build-failed": "Generic Build Failed Commands",
    "finished-build": "Finished Timed Build Commands",
    "chroot-cleanup": "Chroot Cleanup Commands",
}
"""Run as root in the session."""

OUTSIDE = {
    "pre-build": "Pre Build Commands",
    "post-build": "Post Build Commands",
    "post-build-failed": "Post Build Failed Commands",
}
"""Run as the user, outside of the session."""

POINTS = {**INSIDE, **OUTSIDE}

FAILED = tuple(point for point in POINTS if point.endswith("-failed"))
"""Where `--anything-failed-commands` run."""

SHELL = "bash -i </dev/tty >/dev/tty 2>/dev/tty"

Hooks = Mapping[str, Sequence[str]]
"""Point -> the shell commands to run there, in this order."""


def check(commands: Hooks) -> None:
    """Misuse where a command is none in the shell's language."""
    nothing = Escapes("", "", "", "", "")
    for point, written in commands.items():
        for command in written:
            done = subprocess.run(
                ["sh", "-n", "-c", nothing.put_into(command)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            if done.returncode != 0:
                raise Misuse(f"The shell does not understand {command!r}, for {point}", done.stderr.strip())


@dataclass(frozen=True)
class WayInside:
    """How commands outside reach the session."""

    root: Path
    program: Path
    """It runs its arguments in there, as root."""


REACH = re.compile("%(?:%|(e|r|SBUILD_CHROOT_EXEC|SBUILD_CHROOT_DIR))")


def reach_into_session(commands: Hooks, point: str) -> bool:
    """Whether a command for a point outside wants to do something in the session."""
    return any(found[1] for command in commands.get(point, ()) for found in REACH.finditer(command))


@dataclass(frozen=True)
class Escapes:
    """What the escapes stand for; those for which there is nothing yet stay as they are."""

    architecture: str
    build_architecture: str
    build_place: str
    build_directory: str
    dsc: str
    changes: str | None = None
    inside: WayInside | None = None
    package: str = ""
    version: str = ""
    log: Path | None = None

    def put_into(self, command: str) -> str:
        values = {
            "%": "%",
            "a": self.architecture,
            "SBUILD_HOST_ARCH": self.architecture,
            "SBUILD_BUILD_ARCH": self.build_architecture,
            "b": self.build_place,
            "SBUILD_BUILD_DIR": self.build_place,
            "d": self.dsc,
            "SBUILD_DSC": self.dsc,
            "p": self.build_directory,
            "SBUILD_PKGBUILD_DIR": self.build_directory,
            "s": SHELL,
            "SBUILD_SHELL": SHELL,
            "SRCPACKAGE": self.package,
            "SRCPACKAGE_VERSION": self.version,
        }
        if self.log is not None:
            values["SBUILD_LOG_PATH"] = str(self.log)
            values["SBUILD_LOG_DIR"] = str(self.log.parent)
            values["SBUILD_LOG_BASENAME"] = self.log.name
        if self.inside is not None:
            values["r"] = values["SBUILD_CHROOT_DIR"] = str(self.inside.root)
            values["e"] = values["SBUILD_CHROOT_EXEC"] = str(self.inside.program)
        if self.changes is not None:
            values["c"] = values["SBUILD_CHANGES"] = self.changes
        # The longest first: %SBUILD_DSC is not %S and the rest.
        keywords = "|".join(sorted(map(re.escape, values), key=len, reverse=True))
        return re.sub(f"%({keywords})", lambda match: values[match[1]], command)
