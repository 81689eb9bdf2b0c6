"""One throw-away root: a base below, a layer of its own on top, and commands run in it.

Beside the commands, what is known of cowfs here is how it is started, and its mounts.
"""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from builder import hostile_tree
from builder.debian import apt, apt_proxy, architectures
from builder.debian.base_facts import architecture as architecture_of
from builder.interrupts import uninterrupted
from builder.log import BuildLog
from builder.network import Network, places_of
from builder.problems import Problem
from builder.process import logged, output, shown
from builder.session import own_directories
from builder.session.sandbox import ROOT, Identity, Sandbox
from builder.session.surroundings import USER_NAME, USUAL, VARIABLES, Surroundings
from cowfs import linux
from cowfs.base_list import join_bases

COWFS = (sys.executable, "-P", "-m", "cowfs")

# Nobody but the session's processes can reach the mount, whose directory is private; allow_other lets all of them.
MOUNT_OPTIONS = "allow_other,nosuid,nodev"

USABLE_WITHIN = 30.0
ENDED_WITHIN = 10.0
TRACED_WITHIN = 30.0

TRACE = "trace.jsonl"


HOSTS = "127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"

PASSWD_LIMIT = 16 * 1024 * 1024
"""Bytes of a root's passwd."""

# So that no service is started by what is installed, invoke-rc.d(8).
POLICY = "#!/bin/sh\nexit 101\n"

# What `prepare` did, undone, for a session that becomes a base.
SETTLE = """
set -e
rm -f usr/sbin/policy-rc.d
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

    def __init__(
        self,
        mount: Mounted,
        architecture: str,
        log: BuildLog,
        network: Network,
        own: Path,
        surroundings: Surroundings,
    ) -> None:
        self._mount = mount
        self.root = root = mount.root
        self.own = own
        """Where its own directories are (own_directories.py)."""
        self.log = log
        self.network = network
        self.surroundings = surroundings
        self.find_proxy: Callable[[], str] = lambda: ""
        """Asked when apt is to ask the archives, since to find one takes a while (apt_proxy.py)."""
        self._hosts = HOSTS.format(name=surroundings.host_name)
        self.sandbox = Sandbox(
            root,
            hostname=surroundings.host_name,
            started_with=shlex.join([*architectures.personality(architecture).split(), *surroundings.started_with]),
            domain=surroundings.domain,
            umask=surroundings.umask,
            clock_ahead=surroundings.clock_ahead,
            environment=VARIABLES,
        )

    @property
    def builder(self) -> Identity:
        """Whom the build runs as."""
        return self.surroundings.builder

    def prepare(self) -> None:
        """Give the root what a build expects and a base has not: names, a user, quiet services."""
        _put(self.root, "etc/hostname", f"{self.surroundings.host_name}\n")
        _put(self.root, "etc/hosts", self._hosts)
        _put(self.root, "usr/sbin/policy-rc.d", POLICY, mode=0o755)
        _add_builder(self.root, self.surroundings)

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
        self.run("sh", "-c", SETTLE, "settle", USER_NAME)
        # Not from inside, where without the network it is covered.
        _put(self.root, "etc/resolv.conf", None)

    def _join(self, how: How, say: Callable[[str], None]) -> list[str]:
        """What stands before a command that has the network; nothing before others."""
        if not how.get("network", False):
            return []
        roots = [self.root] if "nested" not in how else [self.root, how["nested"]]
        if not self.network.started:
            self.network.start(say)
        elif len(roots) == 1:
            return self.network.join()
        for root in roots:
            _put(root, "etc/resolv.conf", self.network.resolver)
            _put(root, "etc/hosts", self._hosts + "".join(f"{line}\n" for line in self.network.hosts))
        return self.network.join()

    def run(self, *command: str, **how: Unpack[How]) -> None:
        """Run a command in the root, its output into the log. Problem when it fails, TimedOut past a limit."""
        if (code := self.call(*command, **how)) != 0:
            raise Problem(f"{shown(command[:2])} failed with exit code {code}")

    def call(self, *command: str, **how: Unpack[How]) -> int:
        """Run a command whose exit code says something; return that."""
        inside = self.sandbox.command(
            command,
            identity=how.get("identity", ROOT),
            network=how.get("network", False),
            directory=how.get("directory", "/"),
            environment={"TERM": "dumb", **how.get("environment", {})},
            nested=how.get("nested"),
        )
        return logged(
            [*self._join(how, self.log.line), *inside],
            self.log,
            time_limit=how.get("time_limit"),
            silence_limit=how.get("silence_limit"),
            terminal=how.get("terminal", False),
        )

    def way_inside(self) -> list[str]:
        """What stands before a command that others are to run in the root: as root, with the network."""
        join = self._join({"network": True}, self.log.line)
        return [*join, *self.sandbox.command((), network=True, environment={"TERM": "dumb"})]

    def apt_get(self, *words: str) -> None:
        """Run apt-get in the root, with the network and without questions. Problem when it fails."""
        options = (*apt.OPTIONS, *self.proxy_options())
        self.run("apt-get", "-q", "-y", *options, *words, network=True, environment=apt.ENVIRONMENT)

    def proxy_options(self) -> tuple[str, ...]:
        """What apt is told of its proxy, which it can then reach."""
        proxy = self.find_proxy()
        self.network.reach(proxy)
        return apt_proxy.options(proxy)

    def output(self, *command: str) -> str:
        """What a command in the root prints. Problem when it fails."""
        return output(self.sandbox.command(command))

    def interactive(self, command: Sequence[str], *, identity: Identity, network: bool, directory: str = "/") -> int:
        """Run a command on the caller's terminal; its exit code."""
        variables = {"TERM": os.environ.get("TERM", "dumb"), "HOME": "/root" if identity == ROOT else "/nonexistent"}
        words = self.sandbox.command(
            command, identity=identity, network=network, directory=directory, environment=variables
        )
        join = self._join({"network": network}, lambda line: print(line, file=sys.stderr, flush=True))
        return subprocess.run([*join, *words], check=False).returncode


def _put(root: Path, path: str, text: str | None, *, mode: int = 0o644) -> None:
    """Put a file of that text, None for no file, in place of what a root has at `path`. Problem if it cannot be.

    From outside: to enter the sandbox for it would take longer than all the rest before a build.
    """
    place, _, name = path.rpartition("/")
    with _writing(path), hostile_tree.directory(root, place) as directory:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        if text is not None:
            hostile_tree.write(directory, name, text.encode(), mode)


def _add_builder(root: Path, seen: Surroundings) -> None:
    """Make the user who builds known in a root. Problem if that cannot be."""
    name, uid, gid = seen.user_name, seen.builder.uid, seen.builder.gid
    lines = {
        "group": f"{name}:x:{gid}:\n",
        "passwd": f"{name}:x:{uid}:{gid}::{seen.home}:/bin/sh\n",
        "shadow": f"{name}:*:::::::\n",
    }
    with _writing("etc/passwd"), hostile_tree.directory(root, "etc") as etc:
        known: list[bytes] = []
        with suppress(FileNotFoundError):
            known = hostile_tree.read(etc, "passwd", PASSWD_LIMIT).splitlines(keepends=True)
        if lines["passwd"].encode() not in known:
            for file, line in lines.items():
                if seen.is_usual_builder:
                    hostile_tree.append(etc, file, line.encode())
                else:  # the first line of a name or number holds, and a layer below may have the usual one
                    hostile_tree.prepend(etc, file, line.encode(), PASSWD_LIMIT)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Problem(f"Cannot write /{path} of the session: {error.strerror or error}") from None


@contextmanager
def opened(
    base: Path,
    directory: Path,
    log: BuildLog,
    layers: Sequence[Path] = (),
    *,
    writing: Path | None = None,
    traced: bool = False,
    surroundings: Surroundings = USUAL,
    memory: str | None = None,
) -> Iterator[Session]:
    """A prepared session over `base`, with its mount in the private `directory`. Problem when it cannot be had.

    `layers`, topmost first, are frozen ones that were made over the base. What is written goes to `writing`, an earlier
    session's layer, where that is given; into memory where `memory` says how much of it, as tmpfs(5) has sizes.
    """
    options = [*surroundings.conditions, *(["--trace", str(directory / TRACE)] if traced else [])]
    # Layers were sessions, and prepared for the usual surroundings, but for one that nothing was ever written to.
    prepared = bool(layers) or (writing is not None and (writing / "upper").exists())
    architecture = architecture_of(base)
    architectures.enable(architecture)
    # The user's session keyring may hold tickets and file system keys. Not every kernel has keyrings.
    with suppress(OSError):
        linux.new_session_keyring()
    # The base's, since what is in the session may have been put there by the packages of others.
    with (
        _in_memory(directory, memory) if memory else nullcontext(directory) as place,
        Network(places_of(base)) as network,
        mounted([*layers, base], directory, writing or place / "layer", options) as mount,
    ):
        own = (place if writing is None else writing.parent) / own_directories.NAME
        session = Session(mount, architecture, log, network, own, surroundings)
        if not prepared or surroundings != USUAL:
            session.prepare()
        yield session


@contextmanager
def _in_memory(directory: Path, size: str) -> Iterator[Path]:
    """A file system in memory below the private `directory`. Problem when it cannot be had."""
    place = directory / "memory"
    place.mkdir()
    output(["mount", "-n", "-t", "tmpfs", "-o", f"size={size},mode=0700,nosuid,nodev", "cowbuild", place])
    try:
        yield place
    finally:
        subprocess.run(["umount", "-n", "--lazy", place], check=False)


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
        *(join_bases(bases), root),
    ]
    daemon: subprocess.Popen[bytes] | None = None
    try:
        with uninterrupted(), complaints.open("wb") as stderr:
            # In a process group of its own: a Ctrl-C at the terminal ends the build, which then ends the daemon.
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, process_group=0)
        _wait_until_usable(daemon, root, complaints)
        # A base at a path of the user's is closed to others on the machine. In here its root is "/".
        if stat.S_IMODE(root.stat().st_mode) == 0o700:
            root.chmod(0o755)
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
    unmount = ["umount", "-n", "--recursive", str(root)]
    if not root.is_mount():
        daemon.terminate()  # it may still be about to mount
    elif subprocess.run(unmount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        subprocess.run(["umount", "-n", "--lazy", str(root)], check=False)
    try:
        daemon.wait(ENDED_WITHIN)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
