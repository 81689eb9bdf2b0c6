"""The kernel's FUSE protocol as data: structures and flags of linux/fuse.h up to protocol 7.45 (opcodes: opcodes.py).

Nothing here does anything. tests/fuse/test_abi.py compiles a C program against the machine's own
header and compares every size, offset and constant.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

KERNEL_VERSION = 7
KERNEL_MINOR_VERSION = 45
"""The newest protocol described here; less is spoken with an older kernel."""

OLDEST_MINOR_VERSION = 31
"""Kernel 5.4. Before it some structures were shorter."""

ROOT_ID = 1
MIN_READ_BUFFER = 8192


class NotifyCode(IntEnum):
    POLL = 1
    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RETRIEVE = 5
    DELETE = 6
    RESEND = 7
    INC_EPOCH = 8


class InitFlag(IntFlag):
    """FUSE_* of INIT. Bits 32 and up travel in flags2, and only between two sides that both set INIT_EXT."""

    ASYNC_READ = 1 << 0
    POSIX_LOCKS = 1 << 1
    FILE_OPS = 1 << 2
    ATOMIC_O_TRUNC = 1 << 3
    EXPORT_SUPPORT = 1 << 4
    BIG_WRITES = 1 << 5
    DONT_MASK = 1 << 6
    SPLICE_WRITE = 1 << 7
    SPLICE_MOVE = 1 << 8
    SPLICE_READ = 1 << 9
    FLOCK_LOCKS = 1 << 10
    HAS_IOCTL_DIR = 1 << 11
    AUTO_INVAL_DATA = 1 << 12
    DO_READDIRPLUS = 1 << 13
    READDIRPLUS_AUTO = 1 << 14
    ASYNC_DIO = 1 << 15
    WRITEBACK_CACHE = 1 << 16
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    HANDLE_KILLPRIV = 1 << 19
    POSIX_ACL = 1 << 20
    ABORT_ERROR = 1 << 21
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    MAP_ALIGNMENT = 1 << 26
    SUBMOUNTS = 1 << 27
    HANDLE_KILLPRIV_V2 = 1 << 28
    SETXATTR_EXT = 1 << 29
    INIT_EXT = 1 << 30
    INIT_RESERVED = 1 << 31
    SECURITY_CTX = 1 << 32
    HAS_INODE_DAX = 1 << 33
    CREATE_SUPP_GROUP = 1 << 34
    HAS_EXPIRE_ONLY = 1 << 35
    DIRECT_IO_ALLOW_MMAP = 1 << 36
    PASSTHROUGH = 1 << 37
    NO_EXPORT_SUPPORT = 1 << 38
    HAS_RESEND = 1 << 39
    ALLOW_IDMAP = 1 << 40
    OVER_IO_URING = 1 << 41
    REQUEST_TIMEOUT = 1 << 42


# Flags that handlers test on every request are plain integers: a test on an IntFlag costs a microsecond.

FATTR_MODE = 1 << 0
FATTR_UID = 1 << 1
FATTR_GID = 1 << 2
FATTR_SIZE = 1 << 3
FATTR_ATIME = 1 << 4
FATTR_MTIME = 1 << 5
FATTR_FH = 1 << 6
FATTR_ATIME_NOW = 1 << 7
FATTR_MTIME_NOW = 1 << 8
FATTR_LOCKOWNER = 1 << 9
FATTR_CTIME = 1 << 10
FATTR_KILL_SUIDGID = 1 << 11

FOPEN_DIRECT_IO = 1 << 0
FOPEN_KEEP_CACHE = 1 << 1
FOPEN_NONSEEKABLE = 1 << 2
FOPEN_CACHE_DIR = 1 << 3
FOPEN_STREAM = 1 << 4
FOPEN_NOFLUSH = 1 << 5
FOPEN_PARALLEL_DIRECT_WRITES = 1 << 6
FOPEN_PASSTHROUGH = 1 << 7

GETATTR_FH = 1 << 0

WRITE_CACHE = 1 << 0
WRITE_LOCKOWNER = 1 << 1
WRITE_KILL_SUIDGID = 1 << 2

OPEN_KILL_SUIDGID = 1 << 0
SETXATTR_ACL_KILL_SGID = 1 << 0
FSYNC_FDATASYNC = 1 << 0

IOCTL_COMPAT = 1 << 0
IOCTL_UNRESTRICTED = 1 << 1
IOCTL_RETRY = 1 << 2
IOCTL_32BIT = 1 << 3
IOCTL_DIR = 1 << 4
IOCTL_COMPAT_X32 = 1 << 5

EXT_GROUPS = 32


class Layout:
    """One C structure: its name in linux/fuse.h, its fields in order, and a compiled `struct.Struct`.

    Fields are given as "type name" pairs with struct's letters. The kernel pads explicitly to 64 bits,
    so the native order without alignment ("=") is the C layout.
    """

    def __init__(self, name: str, fields: str) -> None:
        self.name = name
        pairs = [field.split() for field in fields.split(",")]
        self.fields = [field for _, field in pairs]
        self.formats = [letter for letter, _ in pairs]
        self.struct = struct.Struct("=" + "".join(self.formats))
        self.size = self.struct.size
        self.unpack_from = self.struct.unpack_from
        self.pack = self.struct.pack
        self.pack_into = self.struct.pack_into

    def offset(self, field: str) -> int:
        index = self.fields.index(field)
        return struct.calcsize("=" + "".join(self.formats[:index]))


IN_HEADER = Layout(
    "fuse_in_header",
    "I len, I opcode, Q unique, Q nodeid, I uid, I gid, I pid, H total_extlen, H padding",
)
OUT_HEADER = Layout("fuse_out_header", "I len, i error, Q unique")

# The header calls times unsigned, and the kernel reads them as signed: 1969 exists.
_ATTR_FIELDS = (
    "Q ino, Q size, Q blocks, q atime, q mtime, q ctime, I atimensec, I mtimensec, I ctimensec, "
    "I mode, I nlink, I uid, I gid, I rdev, I blksize, I flags"
)
ATTR = Layout("fuse_attr", _ATTR_FIELDS)


def _embedded(layout: Layout, prefix: str) -> str:
    """The fields of a structure within another, their names as C spells them from outside."""
    return ", ".join(f"{letter} {prefix}.{name}" for letter, name in zip(layout.formats, layout.fields, strict=True))


ENTRY_OUT = Layout(
    "fuse_entry_out",
    "Q nodeid, Q generation, Q entry_valid, Q attr_valid, I entry_valid_nsec, I attr_valid_nsec, "
    + _embedded(ATTR, "attr"),
)
ATTR_OUT = Layout("fuse_attr_out", "Q attr_valid, I attr_valid_nsec, I dummy, " + _embedded(ATTR, "attr"))
OPEN_OUT = Layout("fuse_open_out", "Q fh, I open_flags, i backing_id")
WRITE_OUT = Layout("fuse_write_out", "I size, I padding")
STATFS_OUT = Layout(
    "fuse_kstatfs",
    "Q blocks, Q bfree, Q bavail, Q files, Q ffree, I bsize, I namelen, I frsize, I padding, 24s spare",
)
GETXATTR_OUT = Layout("fuse_getxattr_out", "I size, I padding")
INIT_OUT = Layout(
    "fuse_init_out",
    "I major, I minor, I max_readahead, I flags, H max_background, H congestion_threshold, I max_write, "
    "I time_gran, H max_pages, H map_alignment, I flags2, I max_stack_depth, H request_timeout, 22s unused",
)
IOCTL_OUT = Layout("fuse_ioctl_out", "i result, I flags, I in_iovs, I out_iovs")
LSEEK_OUT = Layout("fuse_lseek_out", "Q offset")
COPY_FILE_RANGE_OUT = Layout("fuse_copy_file_range_out", "Q bytes_copied")
STATX = Layout(
    "fuse_statx",
    "I mask, I blksize, Q attributes, I nlink, I uid, I gid, H mode, H __spare0, Q ino, Q size, Q blocks, "
    "Q attributes_mask, q atime.tv_sec, I atime.tv_nsec, i atime.__reserved, q btime.tv_sec, I btime.tv_nsec, "
    "i btime.__reserved, q ctime.tv_sec, I ctime.tv_nsec, i ctime.__reserved, q mtime.tv_sec, I mtime.tv_nsec, "
    "i mtime.__reserved, I rdev_major, I rdev_minor, I dev_major, I dev_minor, 112s __spare2",
)
STATX_OUT = Layout("fuse_statx_out", "Q attr_valid, I attr_valid_nsec, I flags, 16s spare, 256s stat")
DIRENT = Layout("fuse_dirent", "Q ino, Q off, I namelen, I type")
"""Without the name, which follows at once; the record is then padded to 8 bytes."""

FORGET_IN = Layout("fuse_forget_in", "Q nlookup")
FORGET_ONE = Layout("fuse_forget_one", "Q nodeid, Q nlookup")
BATCH_FORGET_IN = Layout("fuse_batch_forget_in", "I count, I dummy")
GETATTR_IN = Layout("fuse_getattr_in", "I getattr_flags, I dummy, Q fh")
STATX_IN = Layout("fuse_statx_in", "I getattr_flags, I reserved, Q fh, I sx_flags, I sx_mask")
MKNOD_IN = Layout("fuse_mknod_in", "I mode, I rdev, I umask, I padding")
MKDIR_IN = Layout("fuse_mkdir_in", "I mode, I umask")
RENAME_IN = Layout("fuse_rename_in", "Q newdir")
RENAME2_IN = Layout("fuse_rename2_in", "Q newdir, I flags, I padding")
LINK_IN = Layout("fuse_link_in", "Q oldnodeid")
SETATTR_IN = Layout(
    "fuse_setattr_in",
    "I valid, I padding, Q fh, Q size, Q lock_owner, q atime, q mtime, q ctime, I atimensec, I mtimensec, "
    "I ctimensec, I mode, I unused4, I uid, I gid, I unused5",
)


class SetattrIn(NamedTuple):
    """The fields of SETATTR_IN by name; they have its order."""

    valid: int
    padding: int
    fh: int
    size: int
    lock_owner: int
    atime: int
    mtime: int
    ctime: int
    atimensec: int
    mtimensec: int
    ctimensec: int
    mode: int
    unused4: int
    uid: int
    gid: int
    unused5: int


OPEN_IN = Layout("fuse_open_in", "I flags, I open_flags")
CREATE_IN = Layout("fuse_create_in", "I flags, I mode, I umask, I open_flags")
RELEASE_IN = Layout("fuse_release_in", "Q fh, I flags, I release_flags, Q lock_owner")
FLUSH_IN = Layout("fuse_flush_in", "Q fh, I unused, I padding, Q lock_owner")
READ_IN = Layout("fuse_read_in", "Q fh, Q offset, I size, I read_flags, Q lock_owner, I flags, I padding")
WRITE_IN = Layout("fuse_write_in", "Q fh, Q offset, I size, I write_flags, Q lock_owner, I flags, I padding")
FSYNC_IN = Layout("fuse_fsync_in", "Q fh, I fsync_flags, I padding")
SETXATTR_IN = Layout("fuse_setxattr_in", "I size, I flags, I setxattr_flags, I padding")
"""The last two fields are there only when SETXATTR_EXT was negotiated."""
COMPAT_SETXATTR_IN_SIZE = 8
GETXATTR_IN = Layout("fuse_getxattr_in", "I size, I padding")
ACCESS_IN = Layout("fuse_access_in", "I mask, I padding")
INIT_IN = Layout("fuse_init_in", "I major, I minor, I max_readahead, I flags, I flags2, 44s unused")
"""flags2 and later came with protocol 7.36."""
OLD_INIT_IN = Layout("fuse_init_in", "I major, I minor, I max_readahead, I flags")
INTERRUPT_IN = Layout("fuse_interrupt_in", "Q unique")
IOCTL_IN = Layout("fuse_ioctl_in", "Q fh, I flags, I cmd, Q arg, I in_size, I out_size")
FALLOCATE_IN = Layout("fuse_fallocate_in", "Q fh, Q offset, Q length, I mode, I padding")
LSEEK_IN = Layout("fuse_lseek_in", "Q fh, Q offset, I whence, I padding")
COPY_FILE_RANGE_IN = Layout(
    "fuse_copy_file_range_in", "Q fh_in, Q off_in, Q nodeid_out, Q fh_out, Q off_out, Q len, Q flags"
)
SYNCFS_IN = Layout("fuse_syncfs_in", "Q padding")

URING_ENTRY = Layout("fuse_uring_ent_in_out", "Q flags, Q commit_id, I payload_sz, I padding, Q reserved")
URING_HEADER = Layout("fuse_uring_req_header", "128s in_out, 128s op_in, " + _embedded(URING_ENTRY, "ring_ent_in_out"))
URING_COMMAND = Layout("fuse_uring_cmd_req", "Q flags, Q commit_id, H qid, 6s padding")
URING_REGISTER = 1
URING_COMMIT_AND_FETCH = 2

NOTIFY_INVAL_INODE_OUT = Layout("fuse_notify_inval_inode_out", "Q ino, q off, q len")
NOTIFY_INVAL_ENTRY_OUT = Layout("fuse_notify_inval_entry_out", "Q parent, I namelen, I flags")
NOTIFY_STORE_OUT = Layout("fuse_notify_store_out", "Q nodeid, Q offset, I size, I padding")

LAYOUTS = [value for value in list(globals().values()) if isinstance(value, Layout)]
