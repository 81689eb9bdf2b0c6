"""INIT: which features of the kernel the direct engine takes, and how large requests may be."""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EINVAL

from cowfs.fuse.protocol import abi, messages
from cowfs.fuse.protocol.abi import InitFlag

MAX_PAGES = 256
"""Of 4 KiB: 1 MiB a request, which is the kernel's limit unless the administrator raised fs.fuse.max_pages_limit."""
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
MAX_WRITE = MAX_PAGES * PAGE_SIZE
BUFFER_SIZE = MAX_WRITE + PAGE_SIZE
MAX_BACKGROUND = 64
"""Read-ahead and write-back requests that the kernel may have under way."""

WANTED = (
    InitFlag.ASYNC_READ
    | InitFlag.BIG_WRITES
    | InitFlag.MAX_PAGES
    | InitFlag.PARALLEL_DIROPS
    | InitFlag.CACHE_SYMLINKS
    | InitFlag.DO_READDIRPLUS
    | InitFlag.READDIRPLUS_AUTO
    | InitFlag.NO_OPEN_SUPPORT
    | InitFlag.NO_OPENDIR_SUPPORT
    | InitFlag.HANDLE_KILLPRIV_V2
    | InitFlag.POSIX_ACL
    | InitFlag.DONT_MASK
    | InitFlag.EXPLICIT_INVAL_DATA
    | InitFlag.HAS_IOCTL_DIR
    | InitFlag.SETXATTR_EXT
    | InitFlag.INIT_EXT
    | InitFlag.NO_EXPORT_SUPPORT
)
"""What is asked for where the kernel offers it. Left out on purpose:
ATOMIC_O_TRUNC needs OPEN; WRITEBACK_CACHE loses acknowledged writes with the daemon, and costs a GETATTR for
each closed file; AUTO_INVAL_DATA guards against changes that nobody makes; FLOCK_LOCKS and POSIX_LOCKS
would bring here what the kernel does alone; EXPORT_SUPPORT would need every node ever looked up: file handles are
refused, as overlayfs does, instead of going stale; SECURITY_CTX sends labels of an LSM that the layer cannot keep;
CREATE_SUPP_GROUP: since Linux 6.0 the VFS itself drops S_ISGID for a caller outside the group."""


WANTED_TO_OBSERVE = WANTED & ~(InitFlag.DO_READDIRPLUS | InitFlag.READDIRPLUS_AUTO | InitFlag.NO_OPEN_SUPPORT)
"""What is asked for where every use is to be seen: no look-up that nobody made, and each opening."""


def answer(
    message: messages.Buffer, debug: Callable[[str], None] | None, wanted: InitFlag = WANTED
) -> tuple[InitFlag, bytes]:
    """What is agreed on, and the reply: each wanted feature that the kernel offers, whatever its version.

    OSError EINVAL for a protocol older than 7.31.
    """
    offer = messages.decode_init(message)
    if offer.major > abi.KERNEL_VERSION:
        # The kernel then asks again in our version, fuse.h.
        nothing = InitFlag(0)
        return nothing, messages.init_reply(0, nothing, max_readahead=0, max_write=0, max_pages=0, max_background=0)
    if offer.major < abi.KERNEL_VERSION or offer.minor < abi.OLDEST_MINOR_VERSION:
        raise OSError(EINVAL, f"the kernel speaks FUSE {offer.major}.{offer.minor}, 7.31 is the oldest understood")
    accepted = offer.flags & wanted
    minor = min(offer.minor, abi.KERNEL_MINOR_VERSION)
    if debug is not None:
        debug(f"protocol 7.{minor}; accepted {_names(accepted)}; not offered: {_names(wanted & ~offer.flags)}")
    return accepted, messages.init_reply(
        minor,
        accepted,
        max_readahead=offer.max_readahead,
        max_write=MAX_WRITE,
        max_pages=MAX_PAGES,
        max_background=MAX_BACKGROUND,
    )


def _names(flags: InitFlag) -> str:
    return " ".join(str(flag.name) for flag in InitFlag if flag in flags) or "nothing"
