"""What a benchmark asks of a program that builds packages: set up once, and the command that a user then types."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

USER, UID = "bench", 58232
FIRST_WORDS = "dpkg-buildpackage: info: source package"


@dataclass(frozen=True)
class Machine:
    """Where the programs work: all that they keep lies on one file system, which is made for the measurement."""

    ground: Path
    suite: str
    mirror: str
    jobs: int

    @property
    def home(self) -> Path:
        """Of the plain user."""
        return self.ground / "home"

    def run(
        self, command: Sequence[object], *, plain: bool, where: Path, environment: Mapping[str, str] | None = None
    ) -> float | None:
        """Run a command to its end, as root or as the plain user. RuntimeError with its last words when it fails.

        Seconds until dpkg-buildpackage said its first words; None if they are not shown.
        """
        become = ("setpriv", "--reuid", str(UID), "--regid", str(UID), "--init-groups", "--") if plain else ()
        told = {
            "PATH": f"{os.defpath}:/usr/sbin:/sbin",
            "HOME": str(self.home if plain else self.ground / "root"),
            "USER": USER if plain else "root",
            "LOGNAME": USER if plain else "root",
            "LC_ALL": "C.UTF-8",
            # Where sbuild and cowbuild have their sessions.
            "TMPDIR": str(self.ground / "tmp"),
            **(environment or {}),
        }
        started = time.monotonic()
        begun: float | None = None
        said: deque[str] = deque(maxlen=40)
        with subprocess.Popen(
            [*become, *map(str, command)],
            cwd=where,
            env=told,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if begun is None and line.startswith(FIRST_WORDS):
                    begun = time.monotonic() - started
        if process.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {process.returncode}: {''.join(said)}")
        return begun


class Builder(ABC):
    name: str
    programs: ClassVar[tuple[str, ...]]
    """What must be on PATH."""
    plain: ClassVar[bool] = False
    """A plain user can build with it."""

    def why_not(self) -> str | None:
        """Why it cannot run here; None when it can."""
        missing = [name for name in self.programs if not shutil.which(name)]
        return f"{', '.join(missing)} not installed" if missing else None

    @abstractmethod
    def set_up(self, machine: Machine) -> None:
        """What is done once on a machine, before the first build."""

    def before(self, machine: Machine) -> None:  # noqa: B027  # most need nothing
        """What makes one build as good as any other; not measured."""

    @abstractmethod
    def build(self, machine: Machine, dsc: Path, output: Path) -> float | None:
        """From the command to its end; as Machine.run. The packages are then below `output`."""
