"""Bytes of /dev/fuse <-> meaning. No input or output happens here, so tests are annotated byte arrays.

Two readers share it. Handlers unpack the one structure they need straight from the read buffer, since a
request has some ten microseconds. `decode` and `describe` understand every request by the rows of
opcodes.py: they serve --debug and the tests, and build what they please.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from typing import NamedTuple

from cowfs.fuse.protocol import abi
from cowfs.fuse.protocol.abi import InitFlag, Layout
from cowfs.fuse.protocol.opcodes import SHAPES, Opcode
from cowfs.union.attrs import Attributes

HEADER_SIZE = abi.IN_HEADER.size
OUT_HEADER_SIZE = abi.OUT_HEADER.size

FOREVER = 2**31 - 1
"""Seconds that names and attributes stay valid in the kernel: nobody else changes base and layer."""

NANOSECONDS = 1_000_000_000

Buffer = bytes | bytearray | memoryview

_pack_out_header = abi.OUT_HEADER.pack
_pack_entry = abi.ENTRY_OUT.pack
_pack_attr = abi.ATTR_OUT.pack
_pack_dirent = abi.DIRENT.pack


class Request(NamedTuple):
    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    pid: int
    fields: dict[str, int]
    names: dict[str, bytes]
    data: bytes


class ProtocolError(ValueError):
    """The kernel sent something that its own header does not describe."""


def decode(message: Buffer, *, setxattr_ext: bool = False) -> Request:
    """The whole request, by the rows of opcodes.py. ProtocolError."""
    if len(message) < HEADER_SIZE:
        raise ProtocolError(f"a request of {len(message)} bytes is shorter than its header")
    length, opcode, unique, node, uid, gid, pid, extension_length, _ = abi.IN_HEADER.unpack_from(message)
    if length != len(message):
        raise ProtocolError(f"a request says it has {length} bytes and has {len(message)}")
    body = bytes(message[HEADER_SIZE : length - 8 * extension_length])
    shape = SHAPES.get(opcode)
    fields: dict[str, int] = {}
    names: dict[str, bytes] = {}
    if shape is not None:
        if shape.layout is not None:
            fields, body = _split_fields(shape.layout, body, setxattr_ext)
        for name in shape.names:
            value, terminator, body = body.partition(b"\0")
            if not terminator:
                raise ProtocolError(f"{opcode_name(opcode)} has no end of its {name}")
            names[name] = value
        if body and not shape.data:
            raise ProtocolError(f"{opcode_name(opcode)} has {len(body)} bytes too many")
    return Request(opcode, unique, node, uid, gid, pid, fields, names, body)


def _split_fields(layout: Layout, body: bytes, setxattr_ext: bool) -> tuple[dict[str, int], bytes]:
    size = layout.size
    if layout is abi.SETXATTR_IN and not setxattr_ext:
        size = abi.COMPAT_SETXATTR_IN_SIZE
    if len(body) < size:
        raise ProtocolError(f"{layout.name} needs {size} bytes and {len(body)} came")
    values = layout.unpack_from(body[:size].ljust(layout.size, b"\0"))
    return dict(zip(layout.fields, values, strict=True)), body[size:]


def opcode_name(opcode: int) -> str:
    try:
        return Opcode(opcode).name
    except ValueError:
        return f"opcode {opcode}"


_BORING_FIELDS = frozenset(
    {"fh", "fh_in", "fh_out", "padding", "dummy", "unused", "unused4", "unused5", "lock_owner", "reserved"}
)
_OCTAL_FIELDS = frozenset({"mode", "umask"})


def describe(message: Buffer, *, setxattr_ext: bool = False) -> str:
    """One readable line: `#12 MKDIR node 1 mode=0755 umask=022 name='usr' by 0:0 pid 4711`."""
    try:
        request = decode(message, setxattr_ext=setxattr_ext)
    except ProtocolError as error:
        return f"malformed: {error}"
    words = [f"#{request.unique} {opcode_name(request.opcode)}"]
    if request.node:
        words.append(f"node {request.node}")
    for field, value in request.fields.items():
        if field not in _BORING_FIELDS:
            words.append(f"{field}={value:#o}" if field in _OCTAL_FIELDS else f"{field}={value}")
    words += [f"{key}={_text(name)}" for key, name in request.names.items()]
    if request.data:
        words.append(f"+{len(request.data)} bytes")
    if request.pid:
        words.append(f"by {request.uid}:{request.gid} pid {request.pid}")
    return " ".join(words)


def describe_reply(unique: int, error: int, size: int) -> str:
    if error:
        return f"#{unique} -> {errno.errorcode.get(error, str(error))}"
    return f"#{unique} -> {size} bytes"


def _text(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))


# Replies


def reply_header(unique: int, size: int) -> bytes:
    """The header of a successful reply with `size` bytes to follow."""
    return _pack_out_header(OUT_HEADER_SIZE + size, 0, unique)


def error_reply(unique: int, error: int) -> bytes:
    """A whole reply: the request failed with this errno."""
    return _pack_out_header(OUT_HEADER_SIZE, -error, unique)


def entry(attributes: Attributes, node: int = 0) -> bytes:
    """fuse_entry_out for a node, numbered like its inode by default: name and attributes valid for ever.

    The generation is always 0: a number is given to another file only when the kernel has forgotten the first.
    """
    ino, mode, nlink, uid, gid, rdev, size, blocks, blksize, atime, mtime, ctime = attributes
    # rdev: the kernel's 32-bit encoding is the low half of the C library's.
    return _pack_entry(
        node or ino, 0, FOREVER, FOREVER, 0, 0,
        ino, size, blocks, atime // NANOSECONDS, mtime // NANOSECONDS, ctime // NANOSECONDS,
        atime % NANOSECONDS, mtime % NANOSECONDS, ctime % NANOSECONDS,
        mode, nlink, uid, gid, rdev & 0xFFFFFFFF, blksize, 0,
    )  # fmt: skip


NEGATIVE_ENTRY = abi.ENTRY_OUT.pack(0, 0, FOREVER, 0, 0, 0, *([0] * len(abi.ATTR.fields)))
"""Node 0: the name does not exist, and that may be remembered."""

NO_ENTRY = bytes(abi.ENTRY_OUT.size)
"""In a READDIRPLUS record: the name alone, nothing to be remembered of it."""


def attr(attributes: Attributes) -> bytes:
    """fuse_attr_out, valid for ever."""
    ino, mode, nlink, uid, gid, rdev, size, blocks, blksize, atime, mtime, ctime = attributes
    return _pack_attr(
        FOREVER, 0, 0,
        ino, size, blocks, atime // NANOSECONDS, mtime // NANOSECONDS, ctime // NANOSECONDS,
        atime % NANOSECONDS, mtime % NANOSECONDS, ctime % NANOSECONDS,
        mode, nlink, uid, gid, rdev & 0xFFFFFFFF, blksize, 0,
    )  # fmt: skip


STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800


def statx(attributes: Attributes, birth_time: int | None) -> bytes:
    """fuse_statx_out, valid for ever; birth_time in nanoseconds, None when the file system does not know it."""
    ino, mode, nlink, uid, gid, rdev, size, blocks, blksize, atime, mtime, ctime = attributes
    mask = STATX_BASIC_STATS | (STATX_BTIME if birth_time is not None else 0)
    major, minor = rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & 0xFFF00
    seconds_and_nanoseconds: list[int] = []
    for time in (atime, birth_time or 0, ctime, mtime):
        seconds_and_nanoseconds += [time // NANOSECONDS, time % NANOSECONDS, 0]
    stat = abi.STATX.pack(
        mask, blksize, 0, nlink, uid, gid, mode, 0, ino, size, blocks, 0,
        *seconds_and_nanoseconds, major, minor, 0, 0, b"",
    )  # fmt: skip
    return abi.STATX_OUT.pack(FOREVER, 0, 0, b"", stat)


def dirent(name: bytes, cookie: int, number: int, mode_type: int) -> bytes:
    """One READDIR record; `mode_type` is the S_IFMT part of a mode."""
    length = len(name)
    return _pack_dirent(number, cookie, length, mode_type >> 12) + name + _PADDING[length & 7]


_PADDING = [bytes(-length & 7) for length in range(8)]


def statfs(blocks: int, free: int, available: int, files: int, files_free: int, block: int, fragment: int) -> bytes:
    """fuse_statfs_out. Sizes in units of `fragment` bytes; a name may have 255 bytes, whatever is below."""
    return abi.STATFS_OUT.pack(blocks, free, available, files, files_free, block, 255, fragment, 0, b"")


class InitRequest(NamedTuple):
    major: int
    minor: int
    max_readahead: int
    flags: InitFlag


def decode_init(message: Buffer) -> InitRequest:
    """What the kernel offers. flags2 counts only when the kernel says it sent it."""
    major, minor, max_readahead, flags = abi.OLD_INIT_IN.unpack_from(message, HEADER_SIZE)
    if flags & InitFlag.INIT_EXT and len(message) >= HEADER_SIZE + abi.INIT_IN.size:
        flags |= abi.INIT_IN.unpack_from(message, HEADER_SIZE)[4] << 32
    return InitRequest(major, minor, max_readahead, InitFlag(flags))


def init_reply(
    minor: int, flags: InitFlag, *, max_readahead: int, max_write: int, max_pages: int, max_background: int
) -> bytes:
    """fuse_init_out. Sizes in bytes; times have a granularity of 1 ns."""
    return abi.INIT_OUT.pack(
        abi.KERNEL_VERSION, minor, max_readahead, flags & 0xFFFFFFFF, max_background, max_background * 3 // 4,
        max_write, 1, max_pages, 0, flags >> 32, 0, 0, b"",
    )  # fmt: skip


def decode_forgets(message: Buffer) -> Iterable[tuple[int, int]]:
    """(node, count) of each record of BATCH_FORGET."""
    count, _ = abi.BATCH_FORGET_IN.unpack_from(message, HEADER_SIZE)
    start = HEADER_SIZE + abi.BATCH_FORGET_IN.size
    records = message[start : start + count * abi.FORGET_ONE.size]
    pairs: Iterable[tuple[int, int]] = struct.iter_unpack(abi.FORGET_ONE.struct.format, records)
    return pairs


def notify_stale_attributes(node: int) -> bytes:
    """A whole notification: forget the attributes of this node. Pages are kept, so no page lock is waited for."""
    body = abi.NOTIFY_INVAL_INODE_OUT.pack(node, -1, 0)
    return _pack_out_header(OUT_HEADER_SIZE + len(body), abi.NotifyCode.INVAL_INODE, 0) + body
