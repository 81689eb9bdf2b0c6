"""`cowbuild doctor`: what works on this machine, what does not, and the command that mends it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from builder import user_namespace
from builder.command.verb import Outside
from builder.debian import apt, architectures, dsc, make_base
from builder.problems import Problem
from builder.session import supervisor
from builder.store.places import Kind, place_of
from cowfs import __version__

PYTHON_PACKAGES = ("pyfuse3", "trio", "python-debian", "rich")
COMMANDS = {
    "mmdebstrap": "mmdebstrap",
    "apt-get": "apt",
    "dpkg-source": "dpkg-dev",
    "gpgv": "gpgv",
    "ip": "iproute2",
    "unshare": "util-linux",
}
"""What building runs on the machine -> its Debian package."""
MORE_COMMANDS = {
    "diffoscope": ("diffoscope-minimal", "--vary and rebuild say only which files differ, not what in them"),
    "autopkgtest": ("autopkgtest", "--run-autopkgtest does not work"),
}
NETWORK_CARRIERS = ("pasta", "slirp4netns")

IO_URING_SWITCH = Path("/sys/module/fuse/parameters/enable_uring")
READ_ONLY_MOUNTS_SINCE = (5, 12)
"""The Linux with mount_setattr(2), by which the kernel itself keeps the base from being written."""
ROOM = 4 * 1024**3
"""Bytes: a base and the build of something of middling size."""
TRIAL_SECONDS = 30.0


class State(StrEnum):
    WORKS = "works"
    WITHOUT = "without"
    """Builds go without it."""
    FAILS = "fails"


@dataclass(frozen=True)
class Finding:
    subject: str
    state: State
    text: str
    mend: str = ""
    """The command, or what else is to be done; lines."""


def add_doctor(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="for programs")


def diagnose(arguments: argparse.Namespace, _outside: Outside) -> int:
    """Exit code 1 where something fails without which nothing can be built."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not arguments.json:
            print(f"{finding.state:8} {finding.subject:20} {finding.text}", flush=True)
            for line in finding.mend.splitlines():
                print(f"{'':8} {'':20}     {line}")
    failing = sum(finding.state is State.FAILS for finding in findings)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    elif failing:
        print(f"\n{failing} of these must be mended before cowbuild can build here.")
    else:
        print("\ncowbuild can build here.")
    return 1 if failing else 0


def examine() -> Iterator[Finding]:
    """All findings, in the order in which what a session needs is needed."""
    for subject, needed, look in CHECKS:
        state = State.FAILS if needed else State.WITHOUT
        try:
            said = look()
        except Problem as problem:
            yield Finding(subject, state, str(problem), problem.hint)
        else:
            yield from said if isinstance(said, list) else [Finding(subject, State.WORKS, said)]


def _versions() -> str:
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PYTHON_PACKAGES)
    return f"cowfs {__version__}, Python {platform.python_version()}, {packages}"


def _kernel() -> str:
    release = platform.release()
    if tuple(map(int, re.findall(r"\d+", release)[:2])) < READ_ONLY_MOUNTS_SINCE:
        raise Problem(f"Linux {release} cannot mount the base read-only for cowfs alone: only cowfs keeps it unchanged")
    return f"Linux {release}"


def _namespaces() -> list[Finding]:
    subject = "user namespaces"
    if user_namespace.wanted():
        lacking = [Finding(subject, State.FAILS, str(each), each.hint) for each in user_namespace.lacking()]
        return lacking or [Finding(subject, State.WORKS, "with a range of subordinate ids")]
    try:
        user_namespace.check_ids()
    except Problem as problem:
        return [Finding(subject, State.FAILS, str(problem), problem.hint)]
    if refused := user_namespace.refusal():
        return [Finding(subject, State.WITHOUT, user_namespace.without_namespace(refused))]
    return [Finding(subject, State.WORKS, "root's sessions have one with all ids")]


def _fuse() -> list[Finding]:
    user_namespace.check_fuse()
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    if mode & 0o666 != 0o666:
        text = f"the mode is {mode:04o}: cowbuild works for this user, not for every other"
        return [Finding("/dev/fuse", State.WITHOUT, text, "sudo chmod 666 /dev/fuse    # as Debian has it")]
    return [Finding("/dev/fuse", State.WORKS, f"may be opened, mode {mode:04o}")]


def _mount() -> str:
    with tempfile.TemporaryDirectory(prefix="cowbuild-doctor-") as directory:
        base, point = Path(directory, "base"), Path(directory, "point")
        for made in (base, point):
            made.mkdir()
        (base / "file").write_text("of the base")
        script = '"$1" -P -m cowfs "$2" "$3" && cat "$3/file" && umount "$3"'
        before = ["unshare", *(user_namespace.NAMESPACE if user_namespace.wanted() else ()), "--mount", "--"]
        command = [*before, "sh", "-c", script, "sh", sys.executable, base, point]
        try:
            tried = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=TRIAL_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise Problem(f"A mount of cowfs does not answer within {TRIAL_SECONDS:.0f} seconds") from None
    if tried.stdout != "of the base":
        raise Problem("A directory cannot be mounted by cowfs", tried.stderr.strip())
    return "a directory was mounted, read and unmounted"


def _io_uring() -> str:
    try:
        on = IO_URING_SWITCH.read_text().strip() == "Y"
    except OSError:
        raise Problem("FUSE over io_uring: not in this kernel (Linux 6.14); all works by /dev/fuse") from None
    if not on:
        mend = f"echo Y | sudo tee {IO_URING_SWITCH}    # until the next start; docs/io-uring.md"
        raise Problem("FUSE over io_uring is switched off; all works by /dev/fuse", mend)
    return "FUSE over io_uring is switched on"


def _network() -> str:
    for carrier in NETWORK_CARRIERS:
        if shutil.which(carrier):
            return f"{carrier} gives apt in sessions a network of its own"
    raise Problem("apt in sessions shares the machine's network, its loopback too", "sudo apt-get install passt")


def _commands() -> str:
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        packages = " ".join(COMMANDS[command] for command in missing)
        raise Problem(f"Missing: {', '.join(missing)}", f"sudo apt-get install {packages}")
    return ", ".join(COMMANDS)


def _more_commands() -> list[Finding]:
    return [
        Finding(command, State.WORKS, "is installed")
        if shutil.which(command)
        else Finding(command, State.WITHOUT, f"missing: {effect}", f"sudo apt-get install {package}")
        for command, (package, effect) in MORE_COMMANDS.items()
    ]


def _archive_keyring() -> str:
    make_base.check_keyring(apt.KEYRING)
    return str(apt.KEYRING)


def _developers_keyring() -> str:
    there = [str(keyring) for keyring in dsc.KEYRINGS if keyring.exists()]
    if not there:
        raise Problem("Signatures of .dsc files are not checked", "sudo apt-get install debian-keyring")
    return ", ".join(there)


def _mirror() -> str:
    suite = apt.machine_suite()
    lines = apt.sources(suite)
    with tempfile.TemporaryDirectory(prefix="cowbuild-doctor-") as directory:
        apt.check_suite(suite, lines[:1], architectures.machine(), ("main",), apt.KEYRING, Path(directory))
    return f"{suite} from {lines[0].split()[1]}"


def _foreign() -> str:
    here = architectures.machine()
    native = architectures.NATIVE.get(here, ())
    emulated = [name for name in architectures.emulated() if name not in (here, *native)]
    if not emulated:
        raise Problem(
            f"Of other architectures' programs, the machine runs only those of: {', '.join(native) or 'none'}",
            "sudo apt-get install qemu-user-static binfmt-support",
        )
    return f"{', '.join([*native, *emulated])} run here"


def _room() -> list[Finding]:
    places = {
        "sessions": supervisor.default_parent(),
        "bases": place_of(Kind.DATA, "bases"),
        "kept between builds": place_of(Kind.CACHE, "dependencies"),
    }
    findings = []
    for subject, place in places.items():
        existing = next(each for each in (place, *place.parents) if each.exists())
        free = shutil.disk_usage(existing).free
        text = f"{free / 1024**3:.1f} GiB free for {place}"
        if not os.access(existing, os.W_OK):
            findings.append(Finding(subject, State.FAILS, f"{existing} may not be written by this user"))
        elif free < ROOM:
            findings.append(
                Finding(
                    subject,
                    State.WITHOUT,
                    f"only {text}",
                    "cowbuild cache prune    # or TMPDIR, XDG_CACHE_HOME on another disk",
                )
            )
        else:
            findings.append(Finding(subject, State.WORKS, text))
    return findings


CHECKS: tuple[tuple[str, bool, Callable[[], str | list[Finding]]], ...] = (
    ("versions", True, _versions),
    ("kernel", False, _kernel),
    ("commands", True, _commands),
    ("user namespaces", True, _namespaces),
    ("/dev/fuse", True, _fuse),
    ("mount", True, _mount),
    ("io_uring", False, _io_uring),
    ("network", False, _network),
    ("archive's keyring", True, _archive_keyring),
    ("developers' keyring", False, _developers_keyring),
    ("mirror", True, _mirror),
    ("architectures", False, _foreign),
    ("room", True, _room),
    ("more commands", False, _more_commands),
)
"""What is looked at, whether building needs it, and how."""
