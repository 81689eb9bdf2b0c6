"""One throw-away root: a base below, a layer of its own on top, and commands run in it.

The only module that knows cowfs.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from builder.debian import apt, architectures
from builder.debian.base_facts import architecture as architecture_of
from builder.interrupts import uninterrupted
from builder.log import BuildLog
from builder.problems import Problem
from builder.process import logged, output, shown
from builder.session.sandbox import ROOT, Identity, Sandbox
from cowfs import linux

COWFS = (sys.executable, "-P", "-m", "cowfs")

# Nobody but the session's processes can reach the mount, whose directory is private; allow_other lets all of them.
MOUNT_OPTIONS = "allow_other,nosuid,nodev"

USABLE_WITHIN = 30.0
ENDED_WITHIN = 10.0
TRACED_WITHIN = 30.0

TRACE = "trace.jsonl"


# Two sets of test conditions for a build that should not depend on them: options of cowfs.
CONDITIONS: tuple[tuple[str, ...], ...] = (
    ("--readdir-order", "sorted"),
    ("--readdir-order", "reverse", "--vary-inodes", "other", "--pad-blocks", "8"),
)

# Above the users and the system users of Debian (Policy 9.2.2), so that outside a user namespace it is nobody's.
BUILDER = Identity(uid=60998, gid=60998)
USER_NAME = "cowbuild"

VARIABLES = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "SHELL": "/bin/sh",
}

# Run as root inside before anything else. Files that may be links are replaced, not written through.
PREPARE = """
set -e
for file in etc/resolv.conf etc/hosts usr/sbin/policy-rc.d; do rm -f "$file"; done
printf '%s' "$1" > etc/resolv.conf
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n::1 localhost ip6-localhost ip6-loopback\\n' "$2" > etc/hosts
printf '#!/bin/sh\\nexit 101\\n' > usr/sbin/policy-rc.d
chmod 755 usr/sbin/policy-rc.d
grep -q "^$3:" etc/passwd || {
    printf '%s:x:%s:\\n' "$3" "$5" >> etc/group
    printf '%s:x:%s:%s::/nonexistent:/bin/sh\\n' "$3" "$4" "$5" >> etc/passwd
    printf '%s:*:::::::\\n' "$3" >> etc/shadow
}
"""

# What PREPARE did, undone, for a session that becomes a base.
SETTLE = """
set -e
rm -f etc/resolv.conf usr/sbin/policy-rc.d
for file in etc/group etc/passwd etc/shadow; do sed -i "/^$1:/d" "$file"; done
apt-get clean
"""


@dataclass(frozen=True)
class Mounted:
    """A root, and the daemon that serves it."""

    root: Path
    daemon: subprocess.Popen[bytes]


class How(TypedDict, total=False):
    """How a command is run in a session, where not as root, at the top, without network, unlimited."""

    identity: Identity
    network: bool
    directory: str
    environment: Mapping[str, str]
    time_limit: float | None
    silence_limit: float | None
    terminal: bool
    nested: Path
    """Another root that it sees, as Sandbox.command has it."""


class Session:
    """A mounted root, and the log of what is run in it."""

    def __init__(self, mount: Mounted, architecture: str, log: BuildLog) -> None:
        self._mount = mount
        self.root = root = mount.root
        self.log = log
        self.hostname = socket.gethostname().partition(".")[0] or "localhost"
        self.sandbox = Sandbox(
            root, hostname=self.hostname, personality=architectures.personality(architecture), environment=VARIABLES
        )

    def prepare(self) -> None:
        """Give the root what a build expects and a base has not: name resolution, a user, quiet services."""
        try:
            resolver = Path("/etc/resolv.conf").read_text()
        except OSError:
            resolver = ""
        identity = (USER_NAME, str(BUILDER.uid), str(BUILDER.gid))
        # With the network, since without it resolv.conf is covered.
        self.run("sh", "-c", PREPARE, "prepare", resolver, self.hostname, *identity, network=True)

    def take_trace(self) -> Path:
        """A file with what was used since the last time, in a session that is traced. Problem if it does not come."""
        written = self.root.parent / TRACE
        written.unlink(missing_ok=True)
        self._mount.daemon.send_signal(signal.SIGUSR1)
        give_up = time.monotonic() + TRACED_WITHIN
        while not written.exists():
            if self._mount.daemon.poll() is not None or time.monotonic() > give_up:
                raise Problem("cowfs does not say what the build used")
            time.sleep(0.005)
        return written.rename(written.with_name("taken-" + TRACE))

    def undo_prepare(self) -> None:
        """Undo `prepare`, for a root that is to become a base."""
        self.run("sh", "-c", SETTLE, "settle", USER_NAME, network=True)

    def run(self, *command: str, **how: Unpack[How]) -> None:
        """Run a command in the root, its output into the log. Problem when it fails, TimedOut past a limit."""
        if (code := self.call(*command, **how)) != 0:
            raise Problem(f"{shown(command[:2])} failed with exit code {code}")

    def call(self, *command: str, **how: Unpack[How]) -> int:
        """The same, for a command whose exit code says something."""
        return logged(
            self.sandbox.command(
                command,
                identity=how.get("identity", ROOT),
                network=how.get("network", False),
                directory=how.get("directory", "/"),
                environment={"TERM": "dumb", **how.get("environment", {})},
                nested=how.get("nested"),
            ),
            self.log,
            time_limit=how.get("time_limit"),
            silence_limit=how.get("silence_limit"),
            terminal=how.get("terminal", False),
        )

    def apt_get(self, *words: str) -> None:
        """Run apt-get in the root, with the network and without questions. Problem when it fails."""
        self.run("apt-get", "-q", "-y", *apt.OPTIONS, *words, network=True, environment=apt.ENVIRONMENT)

    def output(self, *command: str) -> str:
        """What a command in the root prints. Problem when it fails."""
        return output(self.sandbox.command(command))

    def interactive(self, command: Sequence[str], *, identity: Identity, network: bool, directory: str = "/") -> int:
        """Run a command on the caller's terminal; its exit code."""
        variables = {"TERM": os.environ.get("TERM", "dumb"), "HOME": "/root" if identity == ROOT else "/nonexistent"}
        words = self.sandbox.command(
            command, identity=identity, network=network, directory=directory, environment=variables
        )
        return subprocess.run(words, check=False).returncode


@contextmanager
def opened(
    base: Path,
    directory: Path,
    log: BuildLog,
    layers: Sequence[Path] = (),
    *,
    writing: Path | None = None,
    traced: bool = False,
    conditions: Sequence[str] = (),
) -> Iterator[Session]:
    """A prepared session over `base`, with its mount in the private `directory`. Problem when it cannot be had.

    `layers`, topmost first, are frozen ones that were made over the base. What is written goes to `writing`, an earlier
    session's layer, where that is given. `conditions` is one of CONDITIONS.
    """
    options = [*conditions, *(["--trace", str(directory / TRACE)] if traced else [])]
    architecture = architecture_of(base)
    architectures.enable(architecture)
    # The user's session keyring may hold tickets and file system keys. Not every kernel has keyrings.
    with suppress(OSError):
        linux.new_session_keyring()
    with mounted([*layers, base], directory, writing, options) as mount:
        session = Session(mount, architecture, log)
        session.prepare()
        yield session


@contextmanager
def mounted(
    bases: Sequence[Path], directory: Path, layer: Path | None = None, options: Sequence[str] = ()
) -> Iterator[Mounted]:
    """Mount `bases`, topmost first, copy-on-write below the private `directory`, with more options of cowfs.

    What is written goes to `layer`, by itself `directory`/layer. Problem when it cannot be mounted. On the way out,
    however that came, the mount is gone and its daemon reaped.
    """
    root = directory / "root"
    root.mkdir()
    complaints = directory / "cowfs.log"
    command: list[str | Path] = [
        *(*COWFS, "-f", "--layer", layer or directory / "layer", "-o", MOUNT_OPTIONS),
        *options,
        *(":".join(re.sub(r"[:\\]", r"\\\g<0>", str(base)) for base in bases), root),
    ]
    daemon: subprocess.Popen[bytes] | None = None
    try:
        with uninterrupted(), complaints.open("wb") as stderr:
            # In a process group of its own: a Ctrl-C at the terminal ends the build, which then ends the daemon.
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, process_group=0)
        _wait_until_usable(daemon, root, complaints)
        yield Mounted(root, daemon)
    finally:
        if daemon is not None:
            _end(daemon, root)


def _wait_until_usable(daemon: subprocess.Popen[bytes], root: Path, complaints: Path) -> None:
    outside = root.parent.stat().st_dev
    give_up = time.monotonic() + USABLE_WITHIN
    while root.stat().st_dev == outside:
        if daemon.poll() is not None or time.monotonic() > give_up:
            last_words = complaints.read_text(errors="replace").strip()
            raise Problem("The session's root cannot be mounted", last_words or "cowfs gave no reason")
        time.sleep(0.005)


def _end(daemon: subprocess.Popen[bytes], root: Path) -> None:
    # Lazily where something still holds it: this mount namespace ends with the builder, and the mount with it.
    unmount = ["umount", "-n", str(root)]
    if not root.is_mount():
        daemon.terminate()  # it may still be about to mount
    elif subprocess.run(unmount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        subprocess.run([*unmount, "--lazy"], check=False)
    try:
        daemon.wait(ENDED_WITHIN)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
