"""What a benchmark asks of a way to get a throw-away copy of a base: prepare once, then create, enter, discard."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

MOUNT_SECONDS = 30.0
"""A candidate that is not mounted after so long has failed."""


class Needs(NamedTuple):
    """What somebody must have to use a candidate, in words for a table."""

    rights: str
    setup: str = "none"
    file_system: str = "any"


@dataclass
class Session:
    """One throw-away copy of a base, seen at `root`."""

    root: Path
    place: Path
    """The directory that was given to it, with all that it keeps."""
    prefix: tuple[str, ...] = ()
    """How a command is started that shall see the copy, before the command itself."""
    daemon: subprocess.Popen[bytes] | None = None
    used: Callable[[], int] | None = None
    """Bytes on disk, where the files below `place` do not say."""

    def command(self, *arguments: str | Path, chroot: Sequence[str] | None = None) -> list[str]:
        """The command line that runs `arguments` in the session; with `chroot`, its options, inside of the root."""
        entered = [] if chroot is None else ["chroot", *chroot, str(self.root)]
        return [*self.prefix, *entered, *map(str, arguments)]

    def run(
        self, *arguments: str | Path, chroot: Sequence[str] | None = None, environment: dict[str, str] | None = None
    ) -> str:
        """Runs a command, with the root as its directory; what it printed. RuntimeError with its last words."""
        command = self.command(*arguments, chroot=chroot)
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stdout[-1500:] + done.stderr[-1500:]).strip()
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {said}")
        return done.stdout

    def disk_used(self) -> int:
        return self.used() if self.used else allocated(self.place)


class Candidate(ABC):
    name: ClassVar[str]
    needs: ClassVar[Needs]
    programs: ClassVar[tuple[str, ...]] = ()
    """What must be on PATH."""
    own_base: ClassVar[bool] = False
    """`prepared` makes a base of its own, on the file system of the sessions; for each measurement anew."""
    plain_directories: ClassVar[bool] = False
    """Packages are built in a plain directory beside the layer, and /tmp is one; not in what is copied on write."""

    def why_not(self, ground: Path) -> str | None:
        """Why it cannot run here, or with its files below `ground`; None when it can."""
        if os.geteuid() != 0:
            return "needs root"
        missing = [name for name in self.programs if not shutil.which(name)]
        return f"{', '.join(missing)} not installed" if missing else None

    @contextmanager
    def prepared(self, base: Path, place: Path) -> Iterator[Path]:
        """What an administrator does once for a base: `place` is free for it. Yields what sessions are made of."""
        yield base

    @abstractmethod
    def create(self, base: Path, place: Path) -> Session:
        """A session over what `prepared` gave; its files below `place`, which is not there yet."""

    @abstractmethod
    def discard(self, session: Session) -> None:
        """Nothing is left afterwards, `place` included."""

    @contextmanager
    def session(self, base: Path, place: Path) -> Iterator[Session]:
        session = self.create(base, place)
        try:
            yield session
        finally:
            self.discard(session)


class MountedCandidate(Candidate):
    """Base and an own directory for what is written, seen together in a mount."""

    @abstractmethod
    def start(self, base: Path, layer: Path, root: Path) -> subprocess.Popen[bytes] | None:
        """Mounts. The daemon that runs in the foreground, None for what the kernel does alone."""

    def create(self, base: Path, place: Path) -> Session:
        root = place / "root"
        root.mkdir(parents=True)
        daemon = self.start(base, place / "layer", root)
        session = Session(root, place, daemon=daemon)
        try:
            _wait_until_mounted(root, daemon)
        except BaseException:
            if daemon:
                daemon.kill()
                daemon.wait()
            raise
        session.used = lambda: allocated(place / "layer")
        return session

    def discard(self, session: Session) -> None:
        subprocess.run(["umount", str(session.root)], check=True)
        if session.daemon is not None:
            session.daemon.wait(MOUNT_SECONDS)
        shutil.rmtree(session.place)


def upper_and_work(base: Path, layer: Path) -> str:
    """The mount options that kernel overlayfs and fuse-overlayfs share; their directories made."""
    for name in ("upper", "work"):
        (layer / name).mkdir(parents=True)
    return f"lowerdir={base},upperdir={layer}/upper,workdir={layer}/work,nosuid"


def allocated(path: Path) -> int:
    """Bytes that everything below takes on disk, a file with several names once."""
    command = ["du", "--summarize", "--one-file-system", "--block-size=1", str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(output.split("\t")[0])


def file_system_of(path: Path) -> str:
    command = ["stat", "--file-system", "--format=%T", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _wait_until_mounted(root: Path, daemon: subprocess.Popen[bytes] | None) -> None:
    parent_device = root.parent.stat().st_dev
    give_up = time.monotonic() + MOUNT_SECONDS
    while os.stat(root).st_dev == parent_device:
        if daemon is not None and daemon.poll() is not None:
            raise RuntimeError(f"{daemon.args!r} ended with code {daemon.returncode} instead of mounting")
        if time.monotonic() > give_up:
            raise RuntimeError(f"{root} was not mounted within {MOUNT_SECONDS} s")
        time.sleep(0.002)
