"""The ioctls for the flags of a file, ioctl_iflags(2) and linux/fs.h: their numbers, and the bytes they carry."""

from __future__ import annotations

import struct

NUMBER = 0xFFFF
"""Type and number of an ioctl, without the argument's direction and size, which differ between 32 and 64 bits."""
GET = 0x6601
"""FS_IOC_GETFLAGS"""
SET = 0x6602
"""FS_IOC_SETFLAGS"""
GET_EXTENDED = 0x581F
"""FS_IOC_FSGETXATTR"""

_FSXATTR = struct.Struct("=IIIII8x")
_XFLAG_OF_FLAG = {0x10: 0x8, 0x20: 0x10, 0x8: 0x20, 0x80: 0x40, 0x40: 0x80}
"""FS_*_FL -> FS_XFLAG_*: immutable, append, sync, noatime, nodump."""


def pack(flags: int) -> bytes:
    return flags.to_bytes(8, "little")


def unpack(argument: bytes | bytearray) -> int:
    """From the argument of SET, an int or a long."""
    return int.from_bytes(argument[:4], "little")


def pack_extended(flags: int) -> bytes:
    """Struct fsxattr with these flags."""
    return _FSXATTR.pack(sum(xflag for flag, xflag in _XFLAG_OF_FLAG.items() if flags & flag), 0, 0, 0, 0)
