"""Linux constants and the system calls that Python's `os` lacks. Nothing else in the project uses ctypes.

Every function raises OSError with the kernel's errno. Names are bytes; descriptors and sizes are ints.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Final

AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000

# Of linux/fs.h, for renameat2(2).
RENAME_NOREPLACE: Final = 1
RENAME_EXCHANGE: Final = 2
RENAME_WHITEOUT: Final = 4

# Of linux/stat.h, for utimensat(2).
UTIME_NOW: Final = (1 << 30) - 1
UTIME_OMIT: Final = (1 << 30) - 2

# Of linux/fs.h, for ioctl_ficlone(2) and ioctl_iflags(2).
FICLONE: Final = 0x40049409
FS_IOC_GETFLAGS: Final = 0x80086601
FS_IOC_SETFLAGS: Final = 0x40086602
FS_IMMUTABLE_FL: Final = 0x10
FS_APPEND_FL: Final = 0x20
FS_FL_USER_MODIFIABLE: Final = 0x000380FF

# Of linux/uio.h, for preadv2(2).
RWF_NOWAIT: Final = 8

# linux/mount.h
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_BIND: Final = 4096
MNT_DETACH: Final = 2
_OPEN_TREE_CLONE: Final = 1
_OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_MOUNT_ATTR_RDONLY: Final = 0x1
_MOUNT_ATTR_NOATIME: Final = 0x10
_MOUNT_ATTR_ATIME_MASK: Final = 0x70

# asm-generic/unistd.h: the numbers of calls younger than 5.0 are the same on every architecture.
_SYS_IO_URING_SETUP: Final = 425
_SYS_IO_URING_ENTER: Final = 426
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_MOUNT_SETATTR: Final = 442
_SYS_FCHMODAT2: Final = 452

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def known_libraries() -> Iterator[None]:
    """While modules are loaded that ask ctypes where libpthread is, as trio does to name its threads.

    ctypes would run ldconfig, gcc and ld to find out, which takes a quarter of a second. Since glibc 2.34 it is libc.
    """
    find = ctypes.util.find_library
    ctypes.util.find_library = lambda name: "libc.so.6" if name == "pthread" else find(name)
    try:
        yield
    finally:
        ctypes.util.find_library = find


class _StatxTimestamp(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("reserved", ctypes.c_int32))


class _Statx(ctypes.Structure):
    _fields_ = (
        ("mask", ctypes.c_uint32),
        ("before_times", ctypes.c_uint8 * 60),
        ("access", _StatxTimestamp),
        ("birth", _StatxTimestamp),
        ("after_times", ctypes.c_uint8 * 160),
    )


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_TIMES = struct.Struct("@4l")
"""Two struct timespec: seconds and nanoseconds of the access, and of the change."""
_OMITTED = (0, UTIME_OMIT)
_THE_PRESENT = (0, UTIME_NOW)
_STATX_BTIME: Final = 0x800

_libc.utimensat.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int)
_libc.futimens.argtypes = (ctypes.c_int, ctypes.c_char_p)
_libc.renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.statx.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Statx))
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.syncfs.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.syscall.restype = ctypes.c_long
# Called all the time: with their types said, ctypes need not ask each argument for its own.
_fchmodat2 = _libc["syscall"]
_fchmodat2.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint, ctypes.c_int)
_io_uring_enter = _libc["syscall"]
_io_uring_enter.argtypes = (ctypes.c_long, *[ctypes.c_uint] * 4, ctypes.c_void_p, ctypes.c_size_t)
for _function in (_fchmodat2, _io_uring_enter):
    _function.restype = ctypes.c_long


def _raise_errno(name: bytes | None = None) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), name)


def rename(old_fd: int, old: bytes, new_fd: int, new: bytes, flags: int) -> None:
    """renameat2(2) with `RENAME_*` flags."""
    if _libc.renameat2(old_fd, old, new_fd, new, flags) != 0:
        _raise_errno(old)


class Moment(Enum):
    """What is no number of nanoseconds: every number, -1 included, is a time of its own."""

    NOW = "now"


def set_times(dir_fd: int, name: bytes | None, access_ns: int | Moment | None, modify_ns: int | Moment | None) -> None:
    """utimensat(2) without following a link; without a name, futimens(3) of the descriptor itself.

    Times in ns since the epoch, or NOW; None leaves the time. OverflowError, as os.utime, for what no time_t can hold.
    """
    try:
        times = _TIMES.pack(*_timespec(access_ns), *_timespec(modify_ns))
    except struct.error as error:
        raise OverflowError(str(error)) from None
    if name is None:
        failed = _libc.futimens(dir_fd, times)
    else:
        failed = _libc.utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW)
    if failed:
        _raise_errno(name)


def _timespec(ns: int | Moment | None) -> tuple[int, int]:
    if ns is None:
        return _OMITTED
    if isinstance(ns, Moment):
        return _THE_PRESENT
    return divmod(ns, 1_000_000_000)


def chmod(dir_fd: int, name: bytes, mode: int) -> None:
    """fchmodat2(2) (Linux 6.6) without following a link; on older kernels through an O_PATH descriptor."""
    if _fchmodat2(_SYS_FCHMODAT2, dir_fd, name, mode, AT_SYMLINK_NOFOLLOW) == 0:
        return
    if ctypes.get_errno() != errno.ENOSYS:
        _raise_errno(name)
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.chmod(b"/proc/self/fd/%d" % fd, mode)
    finally:
        os.close(fd)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2) with every `FALLOC_FL_*` mode; offset and length in bytes."""
    while _libc.fallocate(fd, mode, offset, length) != 0:
        if ctypes.get_errno() != errno.EINTR:  # a signal for us is none for the caller
            _raise_errno()


def birth_time(dir_fd: int, name: bytes) -> int | None:
    """The creation time in ns by statx(2), or None where the file system keeps none."""
    result = _Statx()
    if _libc.statx(dir_fd, name, AT_SYMLINK_NOFOLLOW, _STATX_BTIME, result) != 0:
        _raise_errno(name)
    if not result.mask & _STATX_BTIME:
        return None
    return int(result.birth.seconds) * 1_000_000_000 + int(result.birth.nanoseconds)


def clone_file(target_fd: int, source_fd: int) -> None:
    """Share the whole content of one file with another: FICLONE of ioctl_ficlone(2)."""
    fcntl.ioctl(target_fd, FICLONE, source_fd)


def get_flags(fd: int) -> int:
    """The inode flags `FS_*_FL` of an open file, ioctl_iflags(2)."""
    (flags,) = struct.unpack_from("=I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8)))
    return int(flags)


def set_flags(fd: int, flags: int) -> None:
    """Set the inode flags `FS_*_FL` of an open file, ioctl_iflags(2)."""
    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=Q", flags))


def syncfs(fd: int) -> None:
    """syncfs(2): write out the whole file system that holds `fd`."""
    if _libc.syncfs(fd) != 0:
        _raise_errno()


def open_read_only_tree(path: bytes) -> int:
    """A descriptor of a private, detached, read-only, noatime bind mount of a directory.

    open_tree(2) and mount_setattr(2): whatever goes through this descriptor, the kernel itself refuses to write.
    Needs CAP_SYS_ADMIN in the caller's user namespace and Linux 5.12; else OSError EPERM or ENOSYS.
    """
    fd = open_tree(path)
    wanted = _MountAttributes(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOATIME, _MOUNT_ATTR_ATIME_MASK, 0, 0)
    arguments = (fd, ctypes.c_char_p(b""), AT_EMPTY_PATH, ctypes.byref(wanted), ctypes.c_size_t(ctypes.sizeof(wanted)))
    if _libc.syscall(_SYS_MOUNT_SETATTR, *arguments) != 0:
        number = ctypes.get_errno()
        os.close(fd)
        raise OSError(number, os.strerror(number), path)
    return fd


def mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes) -> None:
    """mount(2)."""
    if _libc.mount(source, target, kind, flags, data) != 0:
        _raise_errno(target)


def enter_namespaces(process: int, kinds: int) -> None:
    """setns(2) into those of `CLONE_NEW*` that a process has, given by its pidfd. A thread that is the only one may."""
    if _libc.setns(process, kinds) != 0:
        _raise_errno()


def unmount(target: bytes, flags: int = 0) -> None:
    """umount2(2)."""
    if _libc.umount2(target, flags) != 0:
        _raise_errno(target)


def open_tree(path: bytes) -> int:
    """open_tree(2): a descriptor of a detached bind mount of a directory, gone when it is closed."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    fd = int(_libc.syscall(_SYS_OPEN_TREE, AT_FDCWD, ctypes.c_char_p(path), flags))
    if fd < 0:
        _raise_errno(path)
    return fd


def move_mount(fd: int, target: bytes) -> None:
    """move_mount(2): attaches what open_tree gave."""
    arguments = (fd, ctypes.c_char_p(b""), AT_FDCWD, ctypes.c_char_p(target), _MOVE_MOUNT_F_EMPTY_PATH)
    if _libc.syscall(_SYS_MOVE_MOUNT, *arguments) != 0:
        _raise_errno(target)


def current_processor() -> int:
    """sched_getcpu(3): the processor that the calling thread runs on."""
    return int(_libc.sched_getcpu())


def io_uring_setup(entries: int, parameters: bytearray) -> int:
    """io_uring_setup(2): the ring's descriptor; `parameters`, a struct io_uring_params, is filled in."""
    buffer = (ctypes.c_char * len(parameters)).from_buffer(parameters)
    fd = int(_libc.syscall(_SYS_IO_URING_SETUP, entries, ctypes.byref(buffer)))
    if fd < 0:
        _raise_errno()
    return fd


def io_uring_enter(fd: int, submit: int, wait: int, flags: int) -> None:
    """io_uring_enter(2). Returns early, with everything submitted, when a signal comes."""
    if _io_uring_enter(_SYS_IO_URING_ENTER, fd, submit, wait, flags, None, 0) < 0 and ctypes.get_errno() != errno.EINTR:
        _raise_errno()


def address_of(memory: mmap.mmap) -> int:
    """Where a mapping begins, for structures that hold addresses. It must not be closed while they are in use."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


_SYS_KEYCTL = {"x86_64": 250, "i686": 288, "aarch64": 219, "riscv64": 219, "armv7l": 311, "ppc64le": 271, "s390x": 280}
_KEYCTL_JOIN_SESSION_KEYRING = 1


def new_session_keyring() -> None:
    """keyctl(2): gives the calling thread, and its children, an empty session keyring in the inherited one's place."""
    number = _SYS_KEYCTL.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None) < 0:
        _raise_errno()
