"""A file of a session that is held open, read by us: nothing of the session is run for it, no link in it followed."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from builder import hostile_tree
from builder.interrupts import uninterrupted
from cowfs import linux

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000


def read(process: int, path: str, limit: int) -> bytes:
    """What a regular file of the session holds that `process` is in; `path` has no leading slash.

    OSError when it is anything else, or holds more than `limit` bytes. The caller has one thread.
    """
    # From inside: what the kernel lets into a mount is the processes of its own user namespace.
    with uninterrupted():
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os._exit(_tell(process, path, limit, theirs))
        os.close(theirs)
    try:
        with open(ours, "rb") as told:
            content = told.read()
    finally:
        number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if number:
        raise OSError(number, os.strerror(number) if number > 0 else "whoever was to read it was killed")
    return content


def _tell(process: int, path: str, limit: int, writing: int) -> int:
    """Write what the file holds to a descriptor; 0, or the number of the error."""
    try:
        _enter(process)
        with hostile_tree.directory(Path("/"), os.path.dirname(path)) as opened:
            content = hostile_tree.read(opened, os.path.basename(path), limit)
        with open(writing, "wb") as told:
            told.write(content)
    except OSError as error:
        return error.errno or errno.EINVAL
    except BaseException:
        return errno.EIO
    return 0


def _enter(process: int) -> None:
    kinds = _CLONE_NEWNS
    with suppress(OSError):
        if not os.path.samefile("/proc/self/ns/user", f"/proc/{process}/ns/user"):
            kinds |= _CLONE_NEWUSER
    linux.enter_namespaces(os.pidfd_open(process), kinds)
