"""/dev/fuse, mounting and unmounting. Both engines serve the descriptor that `mount` returns.

Root, also root of a user namespace (Linux 4.18 and later), calls mount(2) itself; a plain user asks the
setuid helper fusermount3, which passes the opened device back through a socket.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cowfs import linux
from cowfs.mountinfo import MountInfo, mounts_of

DEVICE = "/dev/fuse"
HELPER = "fusermount3"
READ_AHEAD_KIB = 256


class MountError(OSError):
    """One plain sentence for the user says what is wrong, as str() of the error."""

    def __str__(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else super().__str__()


@dataclass(frozen=True)
class MountOptions:
    """Options of mount(8). default_permissions is always set: the kernel checks modes and ACLs before it asks."""

    source: str = "cowfs"
    """What findmnt shows as the source."""
    subtype: str = "cowfs"
    allow_other: bool = False
    read_only: bool = False
    nosuid: bool = False
    nodev: bool = False
    noexec: bool = False
    noatime: bool = False


FLAGS = {
    "read_only": ("ro", linux.MS_RDONLY),
    "nosuid": ("nosuid", linux.MS_NOSUID),
    "nodev": ("nodev", linux.MS_NODEV),
    "noexec": ("noexec", linux.MS_NOEXEC),
    "noatime": ("noatime", linux.MS_NOATIME),
}
"""Field of MountOptions -> its name for fusermount3, its bit for mount(2)."""


class Device:
    """A mounted FUSE device: `fd` speaks the protocol, without blocking."""

    def __init__(self, fd: int, mountpoint: Path, stage: Path | None = None) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.mountpoint = mountpoint
        self.stage = stage
        """Where the file system is mounted until `move_to_mountpoint` brings a part of it to its place."""

    def unmount(self, *, lazy: bool = False) -> None:
        """MountError when the mount is busy and `lazy` is false."""
        unmount(self.mountpoint, lazy=lazy)

    def move_to_mountpoint(self, name: str) -> None:
        """Puts the directory `name` of a staged mount on the mount point, and the stage away.

        To be called from a thread, since it asks the engine for the name. MountError.
        """
        if self.stage is None:
            return
        stage = os.fsencode(self.stage)
        try:
            tree = linux.open_tree(stage + b"/" + os.fsencode(name))
            try:
                device = os.fstat(tree).st_dev
                _read_ahead(f"{os.major(device)}:{os.minor(device)}")
                linux.move_mount(tree, os.fsencode(self.mountpoint))
            finally:
                os.close(tree)
        except OSError as error:
            raise MountError(error.errno, _mount_problem(error, self.mountpoint)) from error
        finally:
            self._leave_stage()

    def _leave_stage(self) -> None:
        if self.stage is not None:
            with contextlib.suppress(OSError):
                linux.unmount(os.fsencode(self.stage), linux.MNT_DETACH)
            self.stage.rmdir()
            self.stage = None

    def close(self) -> None:
        """Gives up the device: the kernel then fails every request of a mount that is still there."""
        self._leave_stage()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def mount(mountpoint: Path, options: MountOptions, *, staged: bool = False) -> Device:
    """Mounts; requests wait in the device until an engine answers them. MountError.

    `staged`: out of the way first, where the kernel and the user's rights allow to settle the mount later.
    """
    mountpoint = _usable_mountpoint(mountpoint)
    if os.geteuid() != 0:
        return Device(_mount_by_helper(mountpoint, options), mountpoint)
    stage = _stage() if staged else None
    try:
        device = Device(_mount_as_root(mountpoint, stage or mountpoint, options), mountpoint, stage)
    except MountError:
        if stage is not None:
            stage.rmdir()
        raise
    if stage is None:
        mounted = _mounted_on(mountpoint)
        _read_ahead("" if mounted is None else mounted.device)
    return device


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """Unmounts, at once out of sight and completely when the last user leaves if `lazy`. MountError."""
    if os.geteuid() == 0:
        try:
            linux.unmount(os.fsencode(mountpoint), linux.MNT_DETACH if lazy else 0)
        except OSError as error:
            raise MountError(error.errno, _unmount_problem(error, mountpoint)) from error
        return
    command = [_helper(), "-u", *(["-z"] if lazy else []), "--", os.fspath(mountpoint)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise MountError(errno.EBUSY, f"cannot unmount {mountpoint}: {_last_line(result.stderr)}")


def _read_ahead(device: str) -> None:
    """Let the kernel read further ahead than the 128 KiB that it starts FUSE with: fewer, larger requests."""
    setting = f"/sys/class/bdi/{device}/read_ahead_kb"
    with contextlib.suppress(OSError), open(setting, "w", encoding="ascii") as file:  # root of a namespace may not
        file.write(str(READ_AHEAD_KIB))


def _stage() -> Path | None:
    """A new directory to mount on for a moment; None where open_tree(2), Linux 5.2, is not there or not allowed."""
    try:
        stage = Path(tempfile.mkdtemp(prefix="cowfs-mount-"))
    except OSError:  # nowhere to write: then without
        return None
    try:
        # Not of "/": what is mounted in there may be locked in a user namespace.
        os.close(linux.open_tree(os.fsencode(stage)))
    except OSError:
        stage.rmdir()
        return None
    return stage


def _usable_mountpoint(mountpoint: Path) -> Path:
    """The absolute path without symlinks: a daemon changes its directory, and mount tables show this one."""
    try:
        resolved = Path(os.path.realpath(mountpoint, strict=True))
        mode = resolved.stat().st_mode
    except FileNotFoundError as error:
        raise MountError(errno.ENOENT, f"the mount point {mountpoint} does not exist") from error
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            raise dead_mount(mountpoint) from error
        raise MountError(error.errno, f"cannot use the mount point {mountpoint}: {error.strerror}") from error
    if not stat.S_ISDIR(mode):
        raise MountError(errno.ENOTDIR, f"the mount point {mountpoint} is not a directory")
    mounted = _mounted_on(resolved)
    if mounted is not None and mounted.type.startswith("fuse.cowfs"):
        try:
            os.statvfs(resolved)  # which no cache answers
        except OSError as error:
            raise dead_mount(mountpoint) from error
        raise MountError(errno.EBUSY, f"{mountpoint} is in use: a cowfs is mounted on it")
    return resolved


def dead_mount(mountpoint: Path) -> MountError:
    text = f"a dead FUSE mount is still at {mountpoint}; remove it with: umount -l {mountpoint}"
    return MountError(errno.ENOTCONN, text)


def _mounted_on(path: Path) -> MountInfo | None:
    """The topmost mount at exactly this path; None when there is none or nothing is known."""
    found = None
    with contextlib.suppress(OSError):
        for mount in mounts_of():
            if mount.point == str(path):
                found = mount
    return found


def _mount_as_root(mountpoint: Path, target: Path, options: MountOptions) -> int:
    """Mounts on `target`, for the time being or for good; errors speak of the mount point that the user named."""
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(error.errno, _device_problem(error)) from error
    data = [
        f"fd={fd}",
        f"rootmode={mountpoint.stat().st_mode:o}",
        f"user_id={os.geteuid()}",
        f"group_id={os.getegid()}",
        "default_permissions",
    ]
    if options.allow_other:
        data.append("allow_other")
    flags = sum(bit for field, (_, bit) in FLAGS.items() if getattr(options, field))
    try:
        kind = f"fuse.{options.subtype}".encode()
        linux.mount(os.fsencode(options.source), os.fsencode(target), kind, flags, ",".join(data).encode())
    except OSError as error:
        os.close(fd)
        raise MountError(error.errno, _mount_problem(error, mountpoint)) from error
    return fd


def _mount_by_helper(mountpoint: Path, options: MountOptions) -> int:
    helper = _helper()
    if not os.path.exists(DEVICE):  # the helper itself may open it, whatever its permissions say to us
        raise MountError(errno.ENOENT, _device_problem(FileNotFoundError(errno.ENOENT, "")))
    words = [f"fsname={_escaped(options.source)}", f"subtype={_escaped(options.subtype)}", "default_permissions"]
    if options.allow_other:
        words.append("allow_other")
    words += [word for field, (word, _) in FLAGS.items() if getattr(options, field)]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        result = subprocess.run(
            [helper, "-o", ",".join(words), "--", os.fspath(mountpoint)],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno()), "LC_ALL": "C"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        theirs.close()
        if result.returncode:
            raise MountError(errno.EPERM, _helper_problem(result.stderr, mountpoint))
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if not descriptors:
        raise MountError(errno.EIO, f"{HELPER} mounted {mountpoint} but gave no descriptor of {DEVICE}")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def _helper() -> str:
    path = shutil.which(HELPER)
    if path is None:
        text = f"{HELPER} is missing, which mounts for users other than root: apt install fuse3"
        raise MountError(errno.ENOENT, text)
    return path


def _escaped(word: str) -> str:
    """fusermount3 splits its options at commas."""
    return word.replace("\\", "\\\\").replace(",", "\\,")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].removeprefix(f"{HELPER}: ") if lines else "no reason was given"


def _device_problem(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return f"{DEVICE} is missing: the kernel has no FUSE, or the container was started without the device"
        case errno.EACCES | errno.EPERM:
            return f"{DEVICE} may not be opened by user {os.geteuid()}: its permissions or the container forbid it"
    return f"cannot open {DEVICE}: {error.strerror}"


def _mount_problem(error: OSError, mountpoint: Path) -> str:
    match error.errno:
        case errno.EPERM | errno.EACCES:
            return f"mounting on {mountpoint} is not permitted: it needs CAP_SYS_ADMIN, which a container may withhold"
        case errno.ENODEV:
            return "the kernel has no FUSE: try modprobe fuse"
        case errno.EBUSY:
            return f"{mountpoint} is in use"
    return f"cannot mount on {mountpoint}: {error.strerror}"


def _helper_problem(stderr: str, mountpoint: Path) -> str:
    if f"failed to open {DEVICE}" in stderr:
        return _device_problem(PermissionError(errno.EACCES, ""))
    if "user_allow_other" in stderr:
        return "allow_other needs the line user_allow_other in /etc/fuse.conf"
    if "Permission denied" in stderr or "no write access" in stderr or "user has no" in stderr:
        return f"the mount point {mountpoint} must be a directory that you may write to"
    return f"cannot mount on {mountpoint}: {_last_line(stderr)}"


def _unmount_problem(error: OSError, mountpoint: Path) -> str:
    match error.errno:
        case errno.EBUSY:
            return f"{mountpoint} is in use: a process has files open or its directory there"
        case errno.EINVAL | errno.ENOENT:
            return f"nothing is mounted on {mountpoint}"
        case errno.EPERM | errno.EACCES:
            return f"unmounting {mountpoint} is not permitted"
    return f"cannot unmount {mountpoint}: {error.strerror}"
