"""The user namespace that sessions are in, and what the machine must have for a plain user's."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from builder.problems import Problem

# The user becomes root inside, and the subordinate ids all others: root's files of a base belong to the user outside.
NAMESPACE = ("--user", "--map-root-user", "--map-auto")

# A Debian tree has ids up to nobody's, 65534.
IDS_NEEDED = 65535


def wanted() -> bool:
    return os.geteuid() != 0


def is_machine_root() -> bool:
    """Whether root here is root of the machine, be it in a user namespace of its own."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def before() -> list[str]:
    """What stands before a command that is to see ids as sessions do: the files of a base belong to any of them."""
    return ["unshare", *NAMESPACE, "--"] if wanted() else []


class UserNamespace:
    """A new user namespace for a command: a plain user's with subordinate ids, or root's, in which ids are the same.

    Root's is for what the kernel then keeps apart from the machine: privileges, registrations of foreign programs.
    newuidmap maps for root only what /etc/subuid gives to root, which is nothing; so it is done here, between the
    making of the namespace and the start of the command.
    """

    def __init__(self, *, use: bool) -> None:
        self.before: list[str] = []
        self.descriptors: tuple[int, ...] = ()
        if wanted():
            self.before = ["unshare", *NAMESPACE, "--"]
        elif use and self._possible():
            self._made, made = os.pipe()
            mapped, self._mapped = os.pipe()
            self.descriptors = (made, mapped)
            wait = 'echo > "/proc/self/fd/$1"; read -r _ < "/proc/self/fd/$2"; shift 2; exec "$@"'
            self.before = ["unshare", "--user", "--", "sh", "-c", wait, "sh", str(made), str(mapped)]

    @staticmethod
    def _possible() -> bool:
        return subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode == 0

    def map(self, process: int) -> None:
        """To be called when the command has been started, with its process number."""
        if not self.descriptors:
            return
        for descriptor in self.descriptors:
            os.close(descriptor)
        # Nothing comes when it ended before it got that far; its exit code then tells.
        if os.read(self._made, 1):
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{process}/{kind}").write_text("0 0 4294967295\n")
        os.close(self._made)
        os.close(self._mapped)


def check() -> None:
    """Problem naming the first thing missing for a user namespace, and the command that repairs it."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    for command in ("newuidmap", "newgidmap"):
        if shutil.which(command) is None:
            raise Problem(f"The command {command} is missing", "sudo apt-get install uidmap")
    for kind in ("uid", "gid"):
        if _subordinate(kind, user) < IDS_NEEDED:
            raise Problem(
                f"The user {user} has no range of {IDS_NEEDED} subordinate {kind}s in /etc/sub{kind}",
                f"sudo usermod --add-sub{kind}s 100000-165535 {user}    # or another range that is free",
            )
    _check_namespaces()


def check_fuse() -> None:
    """Problem when this user may not open /dev/fuse."""
    device = Path("/dev/fuse")
    if not device.exists():
        raise Problem("There is no /dev/fuse", "sudo modprobe fuse")
    if not os.access(device, os.R_OK | os.W_OK):
        raise Problem("/dev/fuse may not be opened by this user", "sudo chmod 666 /dev/fuse    # as Debian has it")


def _subordinate(kind: str, user: str) -> int:
    """The length of the user's first range, the one that --map-auto takes; 0 without one."""
    try:
        lines = Path(f"/etc/sub{kind}").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:
        name, _start, count = (*line.split(":"), "", "")[:3]
        if name in (user, str(os.geteuid())) and count.isdigit():
            return int(count)
    return 0


def _check_namespaces() -> None:
    # First without ids: where the namespace is refused, as in a chroot, unshare leaves the process that was to map them
    # waiting for ever, with our pipe open.
    for options in (["--user"], [*NAMESPACE, "--mount"]):
        tried = subprocess.run(
            ["unshare", *options, "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if tried.returncode != 0:
            break
    else:
        return
    switches = {
        "kernel/unprivileged_userns_clone": ("0", "1"),
        "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
        "user/max_user_namespaces": ("0", "15000"),
    }
    for switch, (off, on) in switches.items():
        path = Path("/proc/sys") / switch
        if path.exists() and path.read_text().strip() == off:
            raise Problem(
                "This machine does not let users make user namespaces", f"sudo sysctl {switch.replace('/', '.')}={on}"
            )
    raise Problem("A user namespace cannot be made", tried.stderr.strip())
