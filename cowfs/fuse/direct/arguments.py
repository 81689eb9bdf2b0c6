"""What handlers take from a message beside its one structure, and give back in a reply of their own form."""

from __future__ import annotations

import stat
import struct
from errno import ERANGE

from cowfs.fuse.protocol import abi, messages
from cowfs.union.attrs import NOW, Caller, Changer, Changes

Message = bytes | bytearray
Reply = bytes | memoryview | None
"""None: there is nothing to say, or it was said."""

_CALLER = struct.Struct("=II")
_CHANGER = struct.Struct("=III")
_CALLER_OFFSET = abi.IN_HEADER.offset("uid")
_CHANGE = (
    abi.FATTR_MODE | abi.FATTR_UID | abi.FATTR_GID | abi.FATTR_SIZE | abi.FATTR_ATIME | abi.FATTR_MTIME
)  # fmt: skip


def attribute_changes(fields: abi.SetattrIn) -> Changes:
    """The fields of fuse_setattr_in as the union wants them.

    Nothing to change is chown(path, -1, -1): what is left of it is that it clears setuid and setgid.
    """
    valid = fields.valid
    wanted = Changes(kill_privileges=bool(valid & abi.FATTR_KILL_SUIDGID) or not valid & _CHANGE)
    if valid & abi.FATTR_MODE:
        wanted.mode = stat.S_IMODE(fields.mode)
    if valid & abi.FATTR_UID:
        wanted.uid = fields.uid
    if valid & abi.FATTR_GID:
        wanted.gid = fields.gid
    if valid & abi.FATTR_SIZE:
        wanted.size = fields.size
    if valid & abi.FATTR_ATIME:
        now = valid & abi.FATTR_ATIME_NOW
        wanted.atime_ns = NOW if now else fields.atime * messages.NANOSECONDS + fields.atimensec
    if valid & abi.FATTR_MTIME:
        now = valid & abi.FATTR_MTIME_NOW
        wanted.mtime_ns = NOW if now else fields.mtime * messages.NANOSECONDS + fields.mtimensec
    return wanted


def name_at(message: Message, start: int) -> bytes:
    return bytes(message[start : message.index(0, start)])


def caller_of(message: Message, umask: int) -> Caller:
    uid, gid = _CALLER.unpack_from(message, _CALLER_OFFSET)
    return Caller(uid, gid, umask)


def changer_of(message: Message) -> Changer:
    return Changer(*_CHANGER.unpack_from(message, _CALLER_OFFSET))


def unprivileged(message: Message) -> Changer | None:
    return None if is_root(message) else changer_of(message)


def is_root(message: Message) -> bool:
    """Whether the caller has a capability, for requests that have no flag of their own to say so."""
    uid: int = _CALLER.unpack_from(message, _CALLER_OFFSET)[0]
    return uid == 0


def sized(value: bytes, size: int) -> bytes:
    """The answer to a question about an extended attribute: its length alone, when no room was offered for it."""
    if size == 0:
        return abi.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > size:
        raise OSError(ERANGE, "")
    return value
