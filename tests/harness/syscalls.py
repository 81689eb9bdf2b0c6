"""System calls that the tests need and Python's os module does not offer; the tests' only ctypes."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable, Iterator

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_NOFOLLOW = 0x100
AT_STATX_FORCE_SYNC = 0x2000
AT_SYMLINK_FOLLOW = 0x400
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2
FALLOC_FL_ZERO_RANGE = 16
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Dirent(ctypes.Structure):
    _fields_ = (
        ("d_ino", ctypes.c_uint64),
        ("d_off", ctypes.c_int64),
        ("d_reclen", ctypes.c_uint16),
        ("d_type", ctypes.c_uint8),
        ("d_name", ctypes.c_char * 256),
    )


_libc.opendir.restype = ctypes.c_void_p
_libc.readdir.restype = ctypes.POINTER(_Dirent)
_libc.telldir.restype = ctypes.c_long


def _check(result: int, name: bytes | str = "") -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags))


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    _check(
        _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), os.fsencode(data)),
        f"{source} on {target}",
    )


def umount(target: str, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), target)


def die_with_parent(signal_number: int) -> None:
    """Ask for `signal_number` when the process that forked this one ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number), 0, 0, 0))


def make_dumpable() -> None:
    """Let this process write its own id maps in /proc after it gave up being root."""
    _check(_libc.prctl(PR_SET_DUMPABLE, ctypes.c_ulong(1), 0, 0, 0))


def rename(old: bytes, new: bytes, flags: int, old_dir: int = AT_FDCWD, new_dir: int = AT_FDCWD) -> None:
    """renameat2(2)."""
    _check(_libc.renameat2(old_dir, old, new_dir, new, flags), old)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    _check(_libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def once(name: str, fd: int, *arguments: bytes | int) -> int:
    """A call of the C library on a descriptor, which Python does not make again after EINTR."""
    return _check(getattr(_libc, name)(fd, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)))


def link_descriptor(fd: int, target: bytes, target_dir: int = AT_FDCWD) -> None:
    """linkat(2) with AT_EMPTY_PATH: give an open file a name."""
    _check(_libc.linkat(fd, b"", target_dir, target, AT_EMPTY_PATH), target)


def name_to_handle(path: bytes) -> bytes:
    """name_to_handle_at(2): a handle by which open_by_handle_at(2) would find the file again."""
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 8 + 128)
    mount_id = ctypes.c_int()
    _check(_libc.name_to_handle_at(AT_FDCWD, path, handle, ctypes.byref(mount_id), 0), path)
    return handle.raw


def set_times(path: bytes, accessed: tuple[int, int], modified: tuple[int, int], *, follow: bool = True) -> None:
    """utimensat(2) with (seconds, nanoseconds) pairs, so that UTIME_NOW and UTIME_OMIT can be given."""
    times = (_Timespec * 2)(_Timespec(*accessed), _Timespec(*modified))
    _check(_libc.utimensat(AT_FDCWD, path, times, 0 if follow else AT_SYMLINK_NOFOLLOW), path)


def fresh_times(path: bytes) -> tuple[int, int]:
    """The (st_ctime, st_mtime) of a name itself in ns, from the file system, not the kernel's memory: statx(2)."""
    buffer = ctypes.create_string_buffer(256)
    flags = AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC
    _check(_libc.statx(AT_FDCWD, path, flags, 0x7FF, buffer), path)
    times = [struct.unpack_from("=qI", buffer, offset) for offset in (96, 112)]  # stx_ctime, stx_mtime
    return times[0][0] * 10**9 + times[0][1], times[1][0] * 10**9 + times[1][1]


class DirectoryStream:
    """opendir(3) and what belongs to it: names with their positions, d_ino and d_type."""

    def __init__(self, path: bytes) -> None:
        stream = _libc.opendir(path)
        if not stream:
            _check(-1, path)
        self._stream = ctypes.c_void_p(stream)

    def close(self) -> None:
        _libc.closedir(self._stream)

    def tell(self) -> int:
        position: int = _libc.telldir(self._stream)
        return position

    def seek(self, position: int) -> None:
        _libc.seekdir(self._stream, ctypes.c_long(position))

    def rewind(self) -> None:
        _libc.rewinddir(self._stream)

    def read(self) -> tuple[bytes, int, int] | None:
        """The next (name, d_ino, d_type), or None at the end."""
        ctypes.set_errno(0)
        entry = _libc.readdir(self._stream)
        if not entry:
            if ctypes.get_errno():
                _check(-1)
            return None
        name = ctypes.string_at(ctypes.addressof(entry.contents) + _Dirent.d_name.offset)
        return name, int(entry.contents.d_ino), int(entry.contents.d_type)

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]:
        while (entry := self.read()) is not None:
            yield entry


def listing(path: bytes) -> dict[bytes, tuple[int, int]]:
    """The (d_ino, d_type) of each name as readdir(3) tells them, of "." and ".." too."""
    stream = DirectoryStream(path)
    try:
        return {name: (number, kind) for name, number, kind in stream}
    finally:
        stream.close()


IN_EVENTS = {
    0x2: "modify",
    0x4: "attributes",
    0x8: "close after writing",
    0x40: "moved from",
    0x80: "moved to",
    0x100: "create",
    0x200: "delete",
}


def watch(directory: bytes, act: Callable[[], object]) -> list[tuple[str, bytes]]:
    """What inotify(7) tells of `directory` while `act` runs: (event, name) in order."""
    descriptor = _check(_libc.inotify_init1(os.O_NONBLOCK))
    try:
        _check(_libc.inotify_add_watch(descriptor, directory, sum(IN_EVENTS)), directory)
        act()
        data = os.read(descriptor, 65536)
    finally:
        os.close(descriptor)
    events = []
    while data:
        _, mask, _, length = struct.unpack_from("iIII", data)
        events.append((IN_EVENTS[mask & 0xFFF], data[16 : 16 + length].rstrip(b"\0")))
        data = data[16 + length :]
    return events
