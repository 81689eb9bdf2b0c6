"""Sessions held open by a process in them, beside which other commands run (Sandbox.beside)."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from builder import records
from builder.problems import Problem
from builder.session.supervisor import COWBUILD
from builder.store.kept_sessions import KeptSession

READY = b"the session is ready\n"
READY_WITHIN = 180.0
"""Seconds, of a busy machine."""
ENDED_WITHIN = 30.0

HOLDER, COMPLAINTS = "holder", "holder.log"

_CREDENTIALS = struct.Struct("3i")


def start(
    words: Sequence[str], wait: str, *, stdin: int, stderr: int | None = None
) -> tuple[subprocess.Popen[bytes], int | None]:
    """Start `cowbuild WORDS -- ...`, a session that lasts as long as the shell's command `wait` in it.

    Returned are that cowbuild and the process that waits, by its number here; None if it does not come to that, and
    then it has ended.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        holder = subprocess.Popen(
            [*COWBUILD, *words, "--", "/bin/sh", "-c", f"echo {READY.decode().strip()}; exec {wait}"],
            stdin=stdin,
            stdout=theirs.fileno(),
            stderr=stderr,
            # Out of reach of the terminal's Ctrl-C, which is for whoever uses the session to obey.
            start_new_session=True,
        )
        process = None
        try:
            theirs.close()
            process = _wait_until_ready(ours)
        finally:
            if process is None:
                stop(holder)
        return holder, process


def stop(cowbuild: subprocess.Popen[bytes]) -> None:
    """End a session that nobody is to have any more, in whatever state it is."""
    cowbuild.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            cowbuild.wait(ENDED_WITHIN)
    finally:
        cowbuild.kill()
        cowbuild.wait()


def _wait_until_ready(ours: socket.socket) -> int | None:
    """The process that holds the session open.

    It knows itself by another number, being in a namespace of its own. The kernel translates the sender of a message.
    """
    said, sender = b"", b""
    give_up = time.monotonic() + READY_WITHIN
    while not said.endswith(READY):
        if not select.select([ours], [], [], max(0.0, give_up - time.monotonic()))[0]:
            return None
        data, [(_level, _kind, sender)], _flags, _address = ours.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        if not data:
            return None
        said += data
    process, _uid, _gid = _CREDENTIALS.unpack(sender)
    return int(process)


@dataclass(frozen=True)
class Holder:
    """What holds a kept session open: a cowbuild, and the process in the session that it waits for.

    When they were started, in ticks since the machine was, tells them from later ones of the same number.
    """

    cowbuild: int
    cowbuild_started: int
    process: int
    process_started: int
    personality: str
    """Of the base's architecture, as Sandbox has it."""


FIELDS = {name: str if name == "personality" else int for name in Holder.__dataclass_fields__}
"""Of its record, as records.py has them."""


@contextmanager
def _held_alone(kept: KeptSession) -> Iterator[None]:
    """Nobody else opens or ends the kept session meanwhile."""
    descriptor = os.open(kept.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def holder_of(kept: KeptSession) -> Holder:
    """What holds a kept session open. Where nothing does, the session is opened. Problem if it cannot be.

    So a session is there again after its processes were killed, or the machine went down, with what was written in it.
    """
    with _held_alone(kept):
        if (holder := _holder(kept)) is not None:
            return holder
        # Their start would be felt by each command in an open session.
        from builder.debian import architectures, base_facts

        complaints = kept.directory / COMPLAINTS
        with complaints.open("wb") as stderr:
            cowbuild, process = start(
                ["enter", kept.name], "sleep infinity", stdin=subprocess.DEVNULL, stderr=stderr.fileno()
            )
        try:
            started = _started(process) if process is not None else None
            if process is None or started is None:
                said = complaints.read_text(errors="replace").strip()
                raise Problem(f"The session {kept.name} cannot be opened", said or "cowbuild gave no reason")
            personality = architectures.personality(base_facts.architecture(Path(kept.base)))
            holder = Holder(cowbuild.pid, _started(cowbuild.pid) or 0, process, started, personality)
            unfinished = kept.directory / f"{HOLDER}.new"
            unfinished.write_text(json.dumps(asdict(holder)))
            unfinished.rename(kept.directory / HOLDER)
        except BaseException:
            stop(cowbuild)  # nobody else would find it
            raise
        return holder


def end(kept: KeptSession) -> None:
    """End what holds a kept session open, and everything in it. Problem if it does not end."""
    with _held_alone(kept):
        holder = _holder(kept)
        if holder is None:
            return
        try:
            descriptor = os.pidfd_open(holder.cowbuild)
        except ProcessLookupError:
            return
        try:
            # Asked again: the number may have been given to another process before it was opened.
            if _started(holder.cowbuild) == holder.cowbuild_started:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                if not select.select([descriptor], [], [], ENDED_WITHIN)[0]:
                    raise Problem(f"The session {kept.name} does not end", f"kill -9 {holder.cowbuild}")
        finally:
            os.close(descriptor)


def _holder(kept: KeptSession) -> Holder | None:
    """What holds it open; None where nothing does any more."""
    fields = records.read(kept.directory / HOLDER, FIELDS)
    if fields is None:
        return None
    holder = Holder(**fields)
    alive = _started(holder.cowbuild) == holder.cowbuild_started and _started(holder.process) == holder.process_started
    return holder if alive else None


def _started(process: int) -> int | None:
    """When a process was started (proc(5): field 22 of stat); None where there is none, or it has ended."""
    try:
        # Its name, in brackets, may hold anything.
        fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
