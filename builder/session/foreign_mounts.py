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
from pathlib import Path

from builder import user_namespace
from cowfs.mountinfo import MountInfo, mounts_of

# FUSE is the system's here, anything else the user's there.
SYSTEM = tuple(f"/{name}/" for name in ("bin", "boot", "dev", "etc", "lib", "opt", "proc", "sbin", "sys", "usr"))
REMOVABLE = ("/media/", "/mnt/", "/run/media/")

LET_GO = 'while [ "$1" != -- ]; do umount -n --lazy -- "$1" 2>/dev/null; shift; done; shift; exec "$@"'


def before(arguments: Sequence[str], directories: Iterable[Path]) -> list[str]:
    """What stands before the command that makes a session's namespaces, with these arguments and directories."""
    if user_namespace.wanted():
        return []
    texts = [*arguments, *os.environ.values()]
    used = [os.getcwd(), *map(str, directories), sys.prefix, sys.executable, __file__, os.path.expanduser("~")]
    used += [word for text in texts for word in (text, text.partition("=")[2], *text.split(":")) if word]
    paths = {os.path.realpath(word) for word in used if "\n" not in word and "\0" not in word}
    mounts = list(mounts_of())
    shared = {mount.number for mount in mounts if mount.shared}
    going = [
        mount.point
        for mount in mounts
        # It goes from a slave namespace when it is unmounted here.
        if mount.parent not in shared and _is_foreign(mount) and not _is_needed(mount.point, paths, texts)
    ]
    if not going:
        return []
    return ["unshare", "--mount", "--propagation=slave", "--", "sh", "-c", LET_GO, "sh", *reversed(going), "--"]


def _is_foreign(mount: MountInfo) -> bool:
    is_fuse = mount.type.startswith("fuse") and mount.point != "/" and not mount.point.startswith(SYSTEM)
    return is_fuse or mount.point.startswith(REMOVABLE)


def _is_needed(point: str, paths: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether something lies in the mount that the session was given, or is named in a command that it was given."""
    return any(path == point or path.startswith(f"{point}/") for path in paths) or any(point in text for text in texts)
