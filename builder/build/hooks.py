"""sbuild's external commands: the points of a build where the user's own commands run, and their percent escapes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
    nothing = Escapes(*[""] * 5)
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
class Escapes:
    """What the escapes stand for; those for which there is nothing yet stay as they are."""

    architecture: str
    build_architecture: str
    build_place: str
    build_directory: str
    dsc: str
    changes: str | None = None

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
        }
        if self.changes is not None:
            values["c"] = values["SBUILD_CHANGES"] = self.changes
        # The longest first: %SBUILD_DSC is not %S and the rest.
        keywords = "|".join(sorted(map(re.escape, values), key=len, reverse=True))
        return re.sub(f"%({keywords})", lambda match: values[match[1]], command)
