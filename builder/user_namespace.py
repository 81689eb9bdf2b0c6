"""The user namespace that sessions are in, and what the machine must have for a plain user's."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.problems import Problem

# The user becomes root inside, and the subordinate ids all others: root's files of a base belong to the user outside.
NAMESPACE = ("--user", "--map-root-user", "--map-auto")

# A Debian tree has ids up to nobody's, 65534.
IDS_NEEDED = 65535

# What useradd gives to each user, and from where on (login.defs(5): SUB_UID_MIN, SUB_UID_COUNT).
RANGES_FROM, RANGE = 100000, 65536


def wanted() -> bool:
    return os.geteuid() != 0


def is_machine_root() -> bool:
    """Whether root here is root of the machine, be it in a user namespace of its own."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def _own_map(kind: str) -> list[tuple[int, int]]:
    """The ids that there are here, in `kind` uid or gid: each the first and the number of them, in order."""
    lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    return sorted((int(line.split()[0]), int(line.split()[2])) for line in lines)


def check_ids() -> None:
    """Problem where root is in a container that has not all the ids of a Debian tree."""
    for kind in ("uid", "gid"):
        known = 0
        for first, count in _own_map(kind):
            known = max(known, first + count) if first <= known else known
        if known < IDS_NEEDED:
            raise Problem(
                f"Here are only the {kind}s 0 to {known - 1}, and a Debian tree has them up to {IDS_NEEDED - 1}",
                f"Give the container, or the user namespace, a range of {IDS_NEEDED} {kind}s.",
            )


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
        self.refused = ""
        """Why root gets none, where it was to be used."""
        if wanted():
            self.before = ["unshare", *NAMESPACE, "--"]
        elif use and not (refused := refusal()):
            self._made, made = os.pipe()
            mapped, self._mapped = os.pipe()
            self.descriptors = (made, mapped)
            wait = 'echo > "/proc/self/fd/$1"; read -r _ < "/proc/self/fd/$2" || exit 1; shift 2; exec "$@"'
            self.before = ["unshare", "--user", "--", "sh", "-c", wait, "sh", str(made), str(mapped)]
        elif use:
            self.refused = refused

    def map(self, process: int) -> None:
        """To be called when the command has been started, with its process number. Problem; the command then ends."""
        if not self.descriptors:
            return
        for descriptor in self.descriptors:
            os.close(descriptor)
        try:
            # Nothing comes when it ended before it got that far; its exit code then tells.
            if os.read(self._made, 1):
                for kind in ("uid", "gid"):
                    same = "".join(f"{first} {first} {count}\n" for first, count in _own_map(kind))
                    Path(f"/proc/{process}/{kind}_map").write_text(same)
                os.write(self._mapped, b"\n")
        except OSError as error:
            hint = "root may do without: cowbuild --no-user-namespace"
            raise Problem(f"The session's user namespace gets no ids: {error.strerror}", hint) from None
        finally:
            os.close(self._made)
            os.close(self._mapped)


def refusal() -> str:
    """Why the machine lets nobody make a user namespace; empty where it does."""
    tried = subprocess.run(
        ["unshare", "--user", "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else tried.stderr.strip() or "unshare gave no reason"


def without_namespace(reason: str) -> str:
    """What is to be said where root's session is in no user namespace because the machine refuses it."""
    return f"User namespace: none, the machine refuses it ({reason}): root in the session is the machine's"


def check() -> None:
    """Problem naming the first thing missing for a user namespace, and the command that repairs it."""
    for problem in lacking():
        raise problem


def lacking() -> Iterator[Problem]:
    """What a plain user's namespace cannot be without and is not there, each with the command that repairs it."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        yield Problem(f"The user {os.geteuid()} has no name, and without one no subordinate ids")
        return
    able = True
    for command in ("newuidmap", "newgidmap"):
        if shutil.which(command) is None:
            able = False
            yield Problem(f"The command {command} is missing", "sudo apt-get install uidmap")
    short = [kind for kind in ("uid", "gid") if _subordinate(kind, user) < IDS_NEEDED]
    if short:
        able = False
        yield Problem(
            f"The user {user} has no range of {IDS_NEEDED} subordinate {short[0]}s in /etc/sub{short[0]}",
            _advice(short, user),
        )
    refused = _namespaces_refused(with_ids=able)
    if refused is not None:
        yield refused


def check_fuse() -> None:
    """Problem when this user may not open /dev/fuse."""
    device = Path("/dev/fuse")
    if not device.exists():
        raise Problem("There is no /dev/fuse", "sudo modprobe fuse")
    if not os.access(device, os.R_OK | os.W_OK):
        raise Problem("/dev/fuse may not be opened by this user", "sudo chmod 666 /dev/fuse    # as Debian has it")


def _ranges(kind: str) -> list[tuple[str, int, int]]:
    """Whose subordinate ids begin where, and how many they are, as the file of that kind says."""
    try:
        lines = Path(f"/etc/sub{kind}").read_text().splitlines()
    except OSError:
        return []
    fields = [[*line.split(":"), "", ""][:3] for line in lines]
    return [(name, int(first), int(count)) for name, first, count in fields if first.isdecimal() and count.isdecimal()]


def _names(user: str) -> tuple[str, str]:
    return user, str(os.geteuid())


def _subordinate(kind: str, user: str) -> int:
    """The length of the user's first range, the one that --map-auto takes; 0 without one."""
    return next((count for name, _first, count in _ranges(kind) if name in _names(user)), 0)


def _advice(kinds: Sequence[str], user: str) -> str:
    """The command that gives the user a range that nobody else has, of those kinds of ids. A short one goes first."""
    others = {(at, count) for kind in ("uid", "gid") for name, at, count in _ranges(kind) if name not in _names(user)}
    first = RANGES_FROM
    for start, count in sorted(others):
        if start < first + RANGE and first < start + count:
            first = start + count
    words = []
    for kind in kinds:
        mine = [(at, count) for name, at, count in _ranges(kind) if name in _names(user)]
        words += [f"--del-sub{kind}s {at}-{at + count - 1}" for at, count in mine if count]
    words += [f"--add-sub{kind}s {first}-{first + RANGE - 1}" for kind in kinds]
    return f"sudo usermod {' '.join(words)} {user}"


def _namespaces_refused(*, with_ids: bool) -> Problem | None:
    # First without ids: where the namespace is refused, as in a chroot, unshare leaves the process that was to map them
    # waiting for ever, with our pipe open.
    for options in [["--user"], [*NAMESPACE, "--mount"]] if with_ids else [["--user"]]:
        tried = subprocess.run(
            ["unshare", *options, "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if tried.returncode != 0:
            break
    else:
        return None
    switches = {
        "kernel/unprivileged_userns_clone": ("0", "1"),
        "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
        "user/max_user_namespaces": ("0", "15000"),
    }
    for switch, (off, on) in switches.items():
        path = Path("/proc/sys") / switch
        if path.exists() and path.read_text().strip() == off:
            mend = f"sudo sysctl {switch.replace('/', '.')}={on}"
            if "apparmor" in switch:
                mend += "\nOr for cowbuild alone, the AppArmor profile of its Debian package: docs/installing.md"
            return Problem("This machine does not let users make user namespaces", mend)
    return Problem("A user namespace cannot be made", tried.stderr.strip())
