"""The base is only read: every system call of a whole session, seen by strace(1)."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import struct
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.command import cowfs_command, served_by
from tests.harness.snapshot import differences, snapshot
from tests.harness.trace import writes_below
from tests.harness.trees import directory, fifo, file, link_to, make_tree, symlink

pytestmark = pytest.mark.root

BASE = {
    "file": file(b"content of a file\n"),
    **{f"many/{number}": file(b"%d" % number * 100) for number in range(30)},
    "large": file(b"large" * 200_000),
    "d/a": file(b"a", mode=0o4755),
    "d/sub/deep": file(b"deep"),
    "moved/inside": file(b"inside"),
    "other/inside": file(b"inside"),
    "gone/x": file(b"x"),
    "symlink": symlink("file"),
    "fifo": fifo(),
    "one": file(b"hard link", xattrs={"user.kept": b"kept"}),
    "d/two": link_to("one"),
    "three": link_to("one"),
    "empty": directory(),
}
SET_FLAGS = 0x40086602  # FS_IOC_SETFLAGS, ioctl_iflags(2)

FAKES = (
    '1 openat(5</base/d>, "file", O_RDWR|O_CLOEXEC) = 6</base/d/file>',
    '1 openat(AT_FDCWD</root>, "/base/file", O_WRONLY|O_CREAT, 0600) = 6</base/file>',
    '1 openat(AT_FDCWD</root>, "/proc/self/fd/9/file", O_WRONLY) = 6</base/file>',
    '1 pwrite64(7</base/file>, "x", 1, 0) = 1',
    '1 write(7</base/file>, "x", 1 <unfinished ...>',
    '1 unlinkat(5</base>, "file", 0) = 0',
    '1 unlinkat(5</elsewhere>, "../base/file", 0) = 0',
    '1 renameat2(5</upper>, "a", 6</base>, "b", RENAME_NOREPLACE) = -1 EROFS (Read-only file system)',
    '1 linkat(5</base>, "a", 6</upper>, "b", 0) = 0',
    '1 symlinkat("/anything", 5</base/d>, "link") = 0',
    '1 mkdirat(5</base/d>, "new", 0755) = 0',
    "1 fchmod(5</base/d/x>, 0644) = 0",
    '1 fchownat(5</base>, "x", 0, 0, AT_SYMLINK_NOFOLLOW) = 0',
    "1 utimensat(5</base/d>, NULL, [UTIME_NOW, UTIME_OMIT], 0) = 0",
    '1 setxattr("/proc/self/fd/5/x", "user.a", "1", 1, 0) = 0',
    "1 ftruncate(5</base/d/x>, 0) = 0",
    "1 copy_file_range(5</upper/x>, [0], 6</base/x>, [0], 10, 0) = 10",
    "1 ioctl(6</base/x>, FICLONE, 5</upper/x>) = 0",
    "1 ioctl(6</base/x>, FS_IOC_SETFLAGS, [FS_APPEND_FL]) = 0",
    "1 fallocate(6</base/x>, 0, 0, 4096) = 0",
    "1 syscall_0x1c4(0x5, 0x7f0000000000, 0x1a4, 0x100, 0, 0) = 0",
)
HARMLESS = (
    '1 openat(5</base/d>, "file", O_RDONLY|O_NOFOLLOW) = 6</base/d/file>',
    '1 openat(5</base-other/d>, "file", O_RDWR) = 6</base-other/d/file>',
    '1 pwrite64(7</upper/file>, "/base/file", 10, 0) = 10',
    '1 symlinkat("/base/file", 5</upper>, "link") = 0',
    "1 copy_file_range(5</base/x>, [0], 6</upper/x>, [0], 10, 0) = 10",
    "1 ioctl(6</upper/x>, FICLONE, 5</base/x>) = 0",
    "1 ioctl(7</base/x>, FS_IOC_GETFLAGS, [0]) = 0",
    '1 setxattr("/proc/self/fd/6/x", "user.a", "1", 1, 0) = 0',
    "1 syscall_0x1c4(0x6, 0x7f0000000000, 0x1a4, 0x100, 0, 0) = 0",
)


@pytest.mark.parametrize("line", FAKES)
def test_the_checker_sees_a_write(line: str) -> None:
    seen_before = ['1 openat(AT_FDCWD</>, "/base", O_PATH) = 9</base>', "1 fstat(5</base/d>) = 0"]
    assert list(writes_below("/base", [*seen_before, line])) == [line]


def test_the_checker_lets_reading_pass() -> None:
    assert list(writes_below("/base", HARMLESS)) == []


def use_everything(top: bytes) -> None:
    """Every request that a mount can get, on entries of the base."""
    assert actions.read(top + b"/file") == b"content of a file\n"
    os.listdir(top + b"/many")
    os.statvfs(top)
    os.listxattr(top + b"/one")
    os.getxattr(top + b"/one", "user.kept")
    os.access(top + b"/d/a", os.X_OK)
    actions.append(top + b"/file", b"!")
    actions.write(top + b"/large", b"L")
    actions.write(top + b"/d/two", b"H")
    os.truncate(top + b"/many/1", 3)
    os.truncate(top + b"/many/2", 10_000)
    os.chmod(top + b"/many/3", 0o600)
    os.chown(top + b"/many/4", 5, 5)
    os.chown(top + b"/symlink", 5, 5, follow_symlinks=False)
    os.utime(top + b"/many/5", ns=(1, 1))
    os.utime(top + b"/d")
    os.setxattr(top + b"/many/6", "user.new", b"1")
    os.removexattr(top + b"/one", "user.kept")
    os.setxattr(top + b"/empty", "user.new", b"1")
    with actions.opened(top + b"/many/7", os.O_RDWR) as descriptor:
        with mmap.mmap(descriptor, 0) as mapping:
            mapping[0:2] = b"mm"
        actions.error_of(lambda: syscalls.fallocate(descriptor, 0, 0, 9000))
        actions.error_of(lambda: fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("Q", 0)))
        os.lseek(descriptor, 0, os.SEEK_HOLE)
        os.fsync(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with actions.opened(top + b"/many/8", os.O_RDWR) as target:
            os.copy_file_range(descriptor, target, 5, 0, 0)
    with actions.opened(top + b"/many/9", os.O_RDWR) as descriptor:
        os.unlink(top + b"/many/9")
        os.pwrite(descriptor, b"unlinked", 0)
        os.fchmod(descriptor, 0o600)
    os.link(top + b"/many/10", top + b"/many/linked")
    os.unlink(top + b"/three")
    os.rename(top + b"/many/11", top + b"/many/12")
    os.rename(top + b"/moved", top + b"/elsewhere")
    actions.append(top + b"/elsewhere/inside", b"!")
    syscalls.rename(top + b"/other", top + b"/d", syscalls.RENAME_EXCHANGE)
    os.rename(top + b"/fifo", top + b"/other/fifo")
    os.unlink(top + b"/gone/x")
    os.rmdir(top + b"/gone")
    os.mkdir(top + b"/gone")
    os.symlink(b"target", top + b"/gone/symlink")
    os.mknod(top + b"/gone/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    actions.create(top + b"/gone/file", b"new")
    os.mkdir(top + b"/gone/new", 0o700)
    actions.error_of(lambda: os.close(os.open(top + b"/empty", os.O_TMPFILE | os.O_RDWR)))
    with actions.opened(top + b"/other") as descriptor:
        os.fsync(descriptor)


def test_a_session_never_writes_to_its_base(place: Path, engine: str) -> None:
    """In the weaker of the two ways to open a base: strace makes mount_setattr(2) fail, so only care protects it."""
    base, point, log, layer = place / "base", place / "mnt", place / "strace", place / "layer"
    make_tree(str(base), BASE)
    point.mkdir()
    before = snapshot(str(base), exact=True)
    strace = ["strace", "-f", "-y", "-qq", "-s", "256", "-o", str(log)]
    inject = ["-e", "inject=mount_setattr:error=ENOSYS"]
    command = [*cowfs_command(), "-f", "--sync", "--engine", engine, "--layer", str(layer), str(base), str(point)]
    with served_by([*strace, *inject, *command], point):
        use_everything(os.fsencode(point))
    lines = log.read_text().splitlines()
    assert sum(str(layer / "upper") in line for line in lines) > 50
    assert sum(str(base) in line and "O_RDONLY" in line for line in lines) > 5
    assert list(writes_below(str(base), lines)) == []
    reads_move_atime = {name: node._replace(identity="") for name, node in snapshot(str(base), exact=True).items()}
    assert differences({name: node._replace(identity="") for name, node in before.items()}, reads_move_atime) == []
