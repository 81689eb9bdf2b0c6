"""Architectures other than the machine's: by its own CPU where that can, else by qemu-user through binfmt_misc."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

from builder.problems import Problem
from builder.process import output

BINFMT = Path("/proc/sys/fs/binfmt_misc")

# Where Debian's qemu packages keep what is to be written into binfmt_misc's register file (binfmt.d(5)).
REGISTRATIONS = Path("/usr/lib/binfmt.d")

# Debian's names -> qemu's.
QEMU = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armel": "arm",
    "armhf": "arm",
    "i386": "i386",
    "loong64": "loongarch64",
    "mips64el": "mips64el",
    "mipsel": "mipsel",
    "ppc64": "ppc64",
    "ppc64el": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}

# The machine's -> what its CPU runs, too.
NATIVE = {"amd64": ("i386",)}

BITS_32 = ("armel", "armhf", "i386", "mipsel")


@functools.cache
def machine() -> str:
    """The machine's Debian architecture."""
    return output(["dpkg", "--print-architecture"]).strip()


def personality(architecture: str) -> str:
    """What the command must be started with so that uname tells of the CPU that programs are made for."""
    return "linux32" if architecture in BITS_32 and architecture in NATIVE.get(machine(), ()) else ""


def emulated() -> list[str]:
    """The architectures whose programs an emulator runs: it is registered, or a session may do that (Linux 6.7)."""
    major, minor = map(int, re.findall(r"\d+", os.uname().release)[:2])
    own = (major, minor) >= (6, 7)
    known = QEMU.items()
    return [name for name, cpu in known if _registered(cpu) or (own and (REGISTRATIONS / f"qemu-{cpu}.conf").exists())]


def enable(architecture: str) -> None:
    """Make programs of an architecture run in this user namespace. Problem, with the repair, when they cannot.

    A user namespace has registrations of its own (Linux 6.7), or else its parent's, in the end the machine's.
    """
    here = machine()
    if architecture == here or architecture in NATIVE.get(here, ()):
        return
    cpu = QEMU.get(architecture)
    if cpu is None:
        raise Problem(f"The architecture {architecture} is not known")
    if _registered(cpu):
        return
    line = REGISTRATIONS / f"qemu-{cpu}.conf"
    if not line.exists():
        raise Problem(
            f"Programs of {architecture} cannot be run: qemu-user is missing", "sudo apt-get install qemu-user-static"
        )
    # Never into the registrations of the machine, which are not ours to change.
    if _in_own_namespace() and _mount_own():
        try:
            (BINFMT / "register").write_bytes(line.read_bytes().rstrip(b"\n"))
        except OSError as error:
            raise Problem(f"Programs of {architecture} cannot be registered: {error.strerror}") from None
        return
    raise Problem(
        f"Programs of {architecture} are not registered with the kernel, and this one has no registrations for users",
        "sudo apt-get install binfmt-support && sudo update-binfmts --enable    # or a kernel of 6.7 or later",
    )


def _registered(cpu: str) -> bool:
    """Whether the interpreter is registered so that it is found in another root, too (flag F)."""
    try:
        entry = (BINFMT / f"qemu-{cpu}").read_text()
    except OSError:
        return False
    lines = entry.splitlines()
    return lines[0] == "enabled" and any(line.startswith("flags:") and "F" in line for line in lines)


def _in_own_namespace() -> bool:
    """Whether this user namespace is not the machine's: that one has a fixed inode number (linux/proc_ns.h)."""
    return Path("/proc/self/ns/user").stat().st_ino != 0xEFFFFFFD


def _mount_own() -> bool:
    mount = ["mount", "-n", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)]
    return subprocess.run(mount, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
