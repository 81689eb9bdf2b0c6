"""One row for each opcode of linux/fuse.h: its number, what it carries, who answers it, what use of a file it is.

Everything else that depends on an opcode is derived from here: the decoder (messages.py), the direct engine's table
(handlers.py) and `--trace` (observer.py). A new opcode is a row here and a method of Handlers.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple, Self

from cowfs.fuse.protocol import abi
from cowfs.fuse.protocol.abi import Layout
from cowfs.union.uses import Use

OPCODE_LIMIT = 64
"""Tables indexed by opcode have this length: every opcode up to 7.45, and room."""


class Shape(NamedTuple):
    """What a request carries after its header: a structure, then names that end in NUL, then plain data."""

    layout: Layout | None = None
    names: tuple[str, ...] = ()
    data: bool = False


class Subject(Enum):
    """Which file a request is a use of."""

    NODE = "the node it is sent to"
    OTHER = "the node that a field of it names"
    NAME = "the one its name leads to"
    REMOVED = "the one its name led to"
    MOVED = "the one its first name led to, and its second name, in the directory that a field names, leads to"
    OPENED = "the node it is sent to, as a field of flags says"


class Traced(NamedTuple):
    """What a request that succeeded is a use of, for `--trace`."""

    subject: Subject
    use: Use
    field: str = ""


def _of_node(use: Use) -> Traced:
    return Traced(Subject.NODE, use)


def _of_name(use: Use) -> Traced:
    return Traced(Subject.NAME, use)


_NAME = ("name",)
_OLD_NEW = ("old", "new")
_REMOVED = Traced(Subject.REMOVED, Use.REMOVED)
_MOVED = Traced(Subject.MOVED, Use.CREATED, "newdir")
_WRITTEN = _of_node(Use.WRITTEN)
_COPIED_TO = Traced(Subject.OTHER, Use.WRITTEN, "nodeid_out")


class Opcode(IntEnum):
    """Number, shape, the method of Handlers that answers it, what use it is.

    No shape: it is not read into. No method: it is answered ENOSYS, which the kernel remembers for most. `durable`:
    it is answered where fsync is to reach the disk; else it is as one without a method.
    """

    shape: Shape | None
    handler: str
    traced: Traced | None
    durable: bool

    def __new__(
        cls,
        number: int,
        shape: Shape | None = None,
        handler: str = "",
        traced: Traced | None = None,
        durable: bool = False,
    ) -> Self:
        row = int.__new__(cls, number)
        row._value_ = number
        row.shape = shape
        row.handler = handler
        row.traced = traced
        row.durable = durable
        return row

    LOOKUP = 1, Shape(None, _NAME), "lookup", _of_name(Use.LOOKED_UP)
    FORGET = 2, Shape(abi.FORGET_IN), "forget"
    GETATTR = 3, Shape(abi.GETATTR_IN), "getattr"
    SETATTR = 4, Shape(abi.SETATTR_IN), "setattr", _WRITTEN
    READLINK = 5, Shape(), "readlink", _of_node(Use.FOLLOWED)
    SYMLINK = 6, Shape(None, ("name", "target")), "symlink", _of_name(Use.CREATED)
    MKNOD = 8, Shape(abi.MKNOD_IN, _NAME), "mknod", _of_name(Use.CREATED)
    MKDIR = 9, Shape(abi.MKDIR_IN, _NAME), "mkdir", _of_name(Use.CREATED)
    UNLINK = 10, Shape(None, _NAME), "unlink", _REMOVED
    RMDIR = 11, Shape(None, _NAME), "rmdir", _REMOVED
    RENAME = 12, Shape(abi.RENAME_IN, _OLD_NEW), "rename", _MOVED
    LINK = 13, Shape(abi.LINK_IN, _NAME), "link", _of_name(Use.CREATED)
    OPEN = 14, Shape(abi.OPEN_IN), "open", Traced(Subject.OPENED, Use(0), "flags")
    READ = 15, Shape(abi.READ_IN), "read"
    WRITE = 16, Shape(abi.WRITE_IN, data=True), "write", _WRITTEN
    STATFS = 17, Shape(), "statfs"
    RELEASE = 18, Shape(abi.RELEASE_IN), "nothing"
    FSYNC = 20, Shape(abi.FSYNC_IN), "fsync", None, True
    SETXATTR = 21, Shape(abi.SETXATTR_IN, _NAME, data=True), "setxattr", _WRITTEN
    GETXATTR = 22, Shape(abi.GETXATTR_IN, _NAME), "getxattr"
    LISTXATTR = 23, Shape(abi.GETXATTR_IN), "listxattr"
    REMOVEXATTR = 24, Shape(None, _NAME), "removexattr", _WRITTEN
    FLUSH = 25, Shape(abi.FLUSH_IN)
    INIT = 26, Shape(abi.OLD_INIT_IN, data=True), "init"
    OPENDIR = 27, Shape(abi.OPEN_IN), "opendir"
    READDIR = 28, Shape(abi.READ_IN), "readdir", _of_node(Use.LISTED)
    RELEASEDIR = 29, Shape(abi.RELEASE_IN), "releasedir"
    FSYNCDIR = 30, Shape(abi.FSYNC_IN), "fsync", None, True
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34, Shape(abi.ACCESS_IN)
    CREATE = 35, Shape(abi.CREATE_IN, _NAME), "create", _of_name(Use.CREATED)
    INTERRUPT = 36, Shape(abi.INTERRUPT_IN), "interrupt"
    BMAP = 37
    DESTROY = 38, Shape(), "nothing"
    IOCTL = 39, Shape(abi.IOCTL_IN, data=True), "ioctl"
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42, Shape(abi.BATCH_FORGET_IN, data=True), "batch_forget"
    FALLOCATE = 43, Shape(abi.FALLOCATE_IN), "fallocate", _WRITTEN
    READDIRPLUS = 44, Shape(abi.READ_IN), "readdirplus", _of_node(Use.LISTED)
    RENAME2 = 45, Shape(abi.RENAME2_IN, _OLD_NEW), "rename2", _MOVED
    LSEEK = 46, Shape(abi.LSEEK_IN), "lseek"
    COPY_FILE_RANGE = 47, Shape(abi.COPY_FILE_RANGE_IN), "copy_file_range", _COPIED_TO
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50, Shape(abi.SYNCFS_IN), "syncfs", None, True
    TMPFILE = 51, Shape(abi.CREATE_IN, _NAME), "tmpfile"
    STATX = 52, Shape(abi.STATX_IN), "statx"
    COPY_FILE_RANGE_64 = 53, Shape(abi.COPY_FILE_RANGE_IN), "copy_file_range_64", _COPIED_TO


SHAPES: dict[int, Shape] = {int(opcode): opcode.shape for opcode in Opcode if opcode.shape is not None}
