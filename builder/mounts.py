"""The machine's mounts, of which a session's mount namespace has copies.

Where the machine's mounts are shared, as systemd makes them, what is unmounted there is unmounted here, too: the copies
are slaves (`unshare --propagation slave`). Where they are private, a copy would keep the mount, and its daemon, for as
long as the session lasts: so root lets go of those that the session has no use for, before it enters the user
namespace, in which they are locked. A plain user cannot.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder import user_namespace

# FUSE is the system's here, anything else the user's there.
SYSTEM = tuple(f"/{name}/" for name in ("bin", "boot", "dev", "etc", "lib", "opt", "proc", "sbin", "sys", "usr"))
REMOVABLE = ("/media/", "/mnt/", "/run/media/")

LET_GO = 'while [ "$1" != -- ]; do umount -n --lazy -- "$1" 2>/dev/null; shift; done; shift; exec "$@"'


@dataclass(frozen=True)
class MachineMount:
    point: str
    kind: str
    follows: bool
    """Whether it goes from a slave namespace when it is unmounted here."""


def listed(table: str) -> list[MachineMount]:
    """The mounts in a table, in the format of proc_pid_mountinfo(5)."""
    lines = [line.split(" ") for line in table.splitlines()]
    # Of those mounted on shared ones.
    shared = {fields[0] for fields in lines if "shared:" in " ".join(fields[6 : fields.index("-")])}
    return [MachineMount(_unescaped(fields[4]), fields[fields.index("-") + 1], fields[1] in shared) for fields in lines]


def _unescaped(field: str) -> str:
    return os.fsdecode(field.encode("latin-1", "surrogateescape").decode("unicode_escape").encode("latin-1"))


def before(arguments: Sequence[str], directories: Iterable[Path]) -> list[str]:
    """What stands before the command that makes a session's namespaces, with these arguments and directories."""
    if user_namespace.wanted():
        return []
    table = Path("/proc/self/mountinfo").read_bytes().decode("latin-1")
    texts = [*arguments, *os.environ.values()]
    used = [os.getcwd(), *map(str, directories), sys.prefix, sys.executable, __file__, os.path.expanduser("~")]
    used += [word for text in texts for word in (text, text.partition("=")[2], *text.split(":")) if word]
    paths = {os.path.realpath(word) for word in used if "\n" not in word and "\0" not in word}
    going = [
        mount.point
        for mount in listed(table)
        if not mount.follows and _is_foreign(mount) and not _is_needed(mount.point, paths, texts)
    ]
    if not going:
        return []
    return ["unshare", "--mount", "--propagation=slave", "--", "sh", "-c", LET_GO, "sh", *reversed(going), "--"]


def _is_foreign(mount: MachineMount) -> bool:
    is_fuse = mount.kind.startswith("fuse") and mount.point != "/" and not mount.point.startswith(SYSTEM)
    return is_fuse or mount.point.startswith(REMOVABLE)


def _is_needed(point: str, paths: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether something lies in the mount that the session was given, or is named in a command that it was given."""
    return any(path == point or path.startswith(f"{point}/") for path in paths) or any(point in text for text in texts)
