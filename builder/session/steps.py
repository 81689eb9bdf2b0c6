"""A state of a session after each debhelper command of a build.

In the session, PLACE/bin stands first on PATH. By the name of each dh_* command it has a program that runs the command,
says so through a pipe, and waits at another until the session's layer is frozen and the mount goes on in an empty one.
Both pipes have names, on the machine's disk and out of the union. A build may say there what it likes: what comes of
it is a number of states, which is limited, of what it wrote itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from builder import hostile_tree
from builder.problems import Problem
from builder.session import own_directories
from builder.session.session import Session
from builder.store import recorded

PLACE = "/var/lib/cowbuild/steps"
PROGRAMS = f"{PLACE}/bin"

COMMAND = re.compile(r"dh_[a-z0-9_]{1,40}")

STATES_LIMIT = 99
SPACE_LIMIT = 10 * 1024**3
"""Bytes of all frozen layers, after which no more are made."""

WRAPPER = f"""\
#!/bin/sh
name=${{0##*/}}
/usr/bin/"$name" "$@" || exit
echo "$name" > {PLACE}/done
read -r _ < {PLACE}/seen
"""


class Step(NamedTuple):
    """A state: its name, and on how many of the frozen layers it stands."""

    name: str
    layers: int


class Steps:
    """What was frozen so far. Its layers are moved to `directory`, on the file system of the session's."""

    def __init__(self, layer: Path, directory: Path) -> None:
        self._layer = layer
        self._directory = directory
        self._size = 0
        self.frozen: list[Path] = []
        """The lowest first."""
        self.taken: list[Step] = []
        self.left_out = ""
        """Why there are no more, where there were more commands."""

    def take(self, command: str) -> None:
        """Have a state of this moment, after a debhelper command."""
        from cowfs.daemon import control
        from cowfs.layer.metadata import LayerError

        if self.left_out or not COMMAND.fullmatch(command):
            return
        if len(self.taken) == STATES_LIMIT or self._size > SPACE_LIMIT:
            self.left_out = f"There are no more: {STATES_LIMIT} states and {SPACE_LIMIT >> 30} GiB are the limit"
            return
        try:
            if any((self._layer / "upper").iterdir()):
                frozen = self._directory / str(len(self.frozen))
                control.ask(self._layer, {"snapshot": str(frozen)})
                self.frozen.append(frozen)
                self._size += recorded.disk_usage(frozen)
        except (LayerError, OSError, subprocess.SubprocessError) as error:
            self.left_out = f"There are no more: {error}"
            return
        self.taken.append(Step(f"{len(self.taken) + 1:02}-{command}", len(self.frozen)))


@contextmanager
def watched(session: Session, directory: Path) -> Iterator[Steps]:
    """The states after the debhelper commands that are run in here with PROGRAMS first on PATH. Problem."""
    directory.mkdir()
    inside = PLACE.lstrip("/")
    try:
        hostile_tree.make_directory(session.root, inside, (0, 0))
        if why := own_directories.add(session.root, session.own, PLACE):
            raise Problem(f"There are no states of the session: {PLACE} must be a plain directory, and {why}")
        with hostile_tree.directory(session.root, inside) as place:
            done, seen = (_pipe(place, name) for name in ("done", "seen"))
            _put_programs(session.root, place)
    except OSError as error:
        raise Problem(f"There are no states of the session: {error.strerror}") from None
    steps = Steps(session.own.parent / "layer", directory)
    ended = threading.Event()
    watching = threading.Thread(target=_watch, args=(steps, done, seen, ended), daemon=True)
    watching.start()
    try:
        yield steps
    finally:
        ended.set()
        with suppress(BlockingIOError):  # what fills it, it reads
            os.write(done, b"\n")
        watching.join()
        os.close(done)
        os.close(seen)


def _watch(steps: Steps, done: int, seen: int, ended: threading.Event) -> None:
    said = b""
    while not ended.is_set():
        os.set_blocking(done, True)
        said += os.read(done, 4096)
        *lines, said = said.split(b"\n")
        said = said[-100:]
        for line in lines:
            if ended.is_set():
                return
            steps.take(line.decode(errors="replace"))
            with suppress(BlockingIOError):  # nobody waits who is so many
                os.write(seen, b"\n")


def _pipe(place: int, name: str) -> int:
    """A pipe with a name, open at both ends, so that nobody waits for the other to open it."""
    os.mkfifo(name, dir_fd=place)
    os.chmod(name, 0o666, dir_fd=place)
    return os.open(name, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)


def _put_programs(root: Path, place: int) -> None:
    with hostile_tree.directory(root, "usr/bin") as programs:
        names = [name for name in hostile_tree.names(programs) if COMMAND.fullmatch(name)]
    os.mkdir("bin", dir_fd=place)
    os.chmod("bin", 0o755, dir_fd=place)
    hostile_tree.write(place, "step", WRAPPER.encode(), 0o755)
    for name in names:
        os.symlink("../step", f"bin/{name}", dir_fd=place)
