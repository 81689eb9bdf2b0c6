"""Who may do what, and what happens to mode bits and capabilities: as the kernel does it on any file system."""

from __future__ import annotations

import array
import fcntl
import functools
import os
import struct
import subprocess
from collections.abc import Callable

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import Entry, directory, file, symlink
from tests.harness.trial import Trial
from tests.harness.users import OTHER_USER, PLAIN_USER, as_user

pytestmark = pytest.mark.root

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_APPEND_FL = 0x20
FS_IMMUTABLE_FL = 0x10
NO_ID = 0xFFFFFFFF

# VFS_CAP_REVISION_2 with the effective bit, and CAP_NET_RAW permitted: what `setcap cap_net_raw+ep` writes
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")

ACCESS_LIST = struct.pack("<I" + "HHI" * 5, 2, 1, 6, NO_ID, 2, 6, 5, 4, 6, NO_ID, 16, 6, NO_ID, 32, 6, NO_ID)
"""u::rw,u:5:rw,g::rw,m::rw,o::rw as linux/posix_acl_xattr.h has it."""

MODES = (0o644, 0o755, 0o4755, 0o2755, 0o6755, 0o2644, 0o6644, 0o4711)


def _nothing(call: Callable[..., object], *args: object) -> None:
    call(*args)


def _truncate_open(path: bytes) -> None:
    with actions.opened(path, os.O_WRONLY | os.O_TRUNC):
        pass


def _allocate(path: bytes) -> None:
    with actions.opened(path, os.O_RDWR) as descriptor:
        syscalls.fallocate(descriptor, 0, 0, 5000)


def _copy_range(path: bytes) -> None:
    with actions.opened(path, os.O_RDWR) as descriptor:
        os.copy_file_range(descriptor, descriptor, 3, 0, 4)


@pytest.mark.parametrize("uid", [0, PLAIN_USER], ids=["root", "owner"])
@pytest.mark.parametrize("copied_up", [False, True], ids=["base", "layer"])
def test_setuid_and_setgid_are_cleared_as_the_kernel_clears_them(bench: Workbench, uid: int, copied_up: bool) -> None:
    changes: dict[str, Callable[[bytes], object]] = {
        "write": lambda path: actions.write(path, b"x"),
        "append": lambda path: actions.append(path, b"x"),
        "truncate": lambda path: os.truncate(path, 1),
        "grow": lambda path: os.truncate(path, 100),
        "open with O_TRUNC": _truncate_open,
        "chown to the same": lambda path: os.chown(path, PLAIN_USER, PLAIN_USER),
        "chown of nothing": lambda path: os.chown(path, -1, -1),
        "chgrp": lambda path: os.chown(path, -1, PLAIN_USER),
        "utime": lambda path: os.utime(path, ns=(1, 1)),
        "chmod to the same": lambda path: os.chmod(path, os.stat(path).st_mode & 0o7777),
        "chmod": lambda path: os.chmod(path, 0o6777),
        "setxattr": lambda path: os.setxattr(path, "user.a", b"1"),
        "link": lambda path: os.link(path, path + b"-link"),
        "rename": lambda path: os.rename(path, path + b"-moved"),
    }
    description: dict[str, Entry] = {".": directory(0o777)}
    for mode in MODES:
        for number in range(len(changes)):
            description[f"{mode:o}-{number}"] = file(b"content", mode=mode, uid=PLAIN_USER, gid=PLAIN_USER)

    def change_all(trial: Trial) -> None:
        for mode in MODES:
            for number, (label, change) in enumerate(changes.items()):
                trial.attempt(f"{label} {mode:o}", _nothing, change, trial.path(f"{mode:o}-{number}"))

    def operations(trial: Trial) -> None:
        if copied_up:
            for name in description:
                os.utime(trial.path(name), ns=(3, 3))
        trial.do_as(change_all, uid)

    bench.compare(description, operations)


@pytest.mark.parametrize("gid", [77, 88, 99], ids=["a group of his", "his group", "a foreign group"])
@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_setgid_without_group_execute_stays_only_for_the_group(bench: Workbench, gid: int, engine: str) -> None:
    """Since Linux 6.2 the bit is cleared when somebody outside of the file's group changes the file."""
    changes: dict[str, Callable[[bytes], object]] = {
        "write": lambda path: actions.write(path, b"x"),
        "append": lambda path: actions.append(path, b"x"),
        "truncate": lambda path: os.truncate(path, 1),
        "open with O_TRUNC": _truncate_open,
        "chown of nothing": lambda path: os.chown(path, -1, -1),
        "chgrp": lambda path: os.chown(path, -1, 88),
        "chmod": lambda path: os.chmod(path, 0o2644),
        "chmod with setuid": lambda path: os.chmod(path, 0o6606),
        "utime": lambda path: os.utime(path, ns=(1, 1)),
        "access list": lambda path: os.setxattr(path, "system.posix_acl_access", ACCESS_LIST),
    }
    if engine != "pyfuse3":
        changes |= {"fallocate": _allocate, "copy_file_range": _copy_range}
    modes = (0o2646, 0o6666, 0o2676, 0o4666)
    description: dict[str, Entry] = {".": directory(0o777)}
    for mode in modes:
        for number in range(len(changes)):
            for owner in (PLAIN_USER, OTHER_USER):
                description[f"{mode:o}-{number}-{owner}"] = file(b"content", mode=mode, uid=owner, gid=gid)

    def change_all(trial: Trial) -> None:
        for mode in modes:
            for number, (label, change) in enumerate(changes.items()):
                # What a stranger's chown of nothing asks for, FUSE asks for his writing, too: it is not refused.
                for owner in (PLAIN_USER,) if label == "chown of nothing" else (PLAIN_USER, OTHER_USER):
                    path = trial.path(f"{mode:o}-{number}-{owner}")
                    trial.attempt(f"{label} {mode:o} of {owner}", _nothing, change, path)
                    trial.note(f"mode after {label} {mode:o} of {owner}", oct(os.stat(path).st_mode))

    bench.compare(description, lambda trial: trial.do_as(change_all, PLAIN_USER, 88, (77,)))


@pytest.mark.parametrize("copied_up", [False, True], ids=["base", "layer"])
def test_capabilities_are_kept_by_copy_up_and_cleared_by_a_change(bench: Workbench, copied_up: bool) -> None:
    changes: dict[str, Callable[[bytes], object]] = {
        "write": lambda path: actions.write(path, b"x"),
        "truncate": lambda path: os.truncate(path, 1),
        "chown": lambda path: os.chown(path, 5, 5),
        "chmod": lambda path: os.chmod(path, 0o700),
        "utime": lambda path: os.utime(path, ns=(1, 1)),
        "rename": lambda path: os.rename(path, path + b"-moved"),
        "link": lambda path: os.link(path, path + b"-link"),
    }
    capable = file(b"content", mode=0o755, xattrs={"security.capability": CAPABILITY})

    def operations(trial: Trial) -> None:
        for number, (label, change) in enumerate(changes.items()):
            path = trial.path(f"{number}")
            if copied_up:
                os.utime(path, ns=(3, 3))
            trial.attempt(f"{label}", _nothing, change, path)
        trial.attempt("cleared", os.getxattr, trial.path("0"), "security.capability")

    bench.compare({str(number): capable for number in range(len(changes))}, operations)


def test_a_new_file_gets_neither_setuid_from_a_stranger_nor_a_foreign_group(bench: Workbench) -> None:
    description = {
        "plain": directory(0o777),
        "setgid": directory(0o2777, gid=77),
        "setgid-own": directory(0o2777, gid=PLAIN_USER),
    }

    def make_all(trial: Trial, ending: str) -> None:
        for top in description:
            for mode in (0o777, 0o2777, 0o6777, 0o4755, 0o2755, 0o2644):
                for kind, make in (
                    ("file", lambda path, mode: actions.create(path, b"", mode)),
                    ("dir", os.mkdir),
                    ("node", lambda path, mode: os.mknod(path, 0o100000 | mode)),
                    ("fifo", os.mkfifo),
                ):
                    name = f"{top}/{kind}-{mode:o}{ending}"
                    trial.attempt(name, _nothing, make, trial.path(name), mode)
            os.symlink(b"x", trial.path(f"{top}/symlink{ending}"))

    def operations(trial: Trial) -> None:
        previous = os.umask(0)
        try:
            for uid in (PLAIN_USER, 0):
                trial.do_as(functools.partial(make_all, ending=f"-by-{uid}"), uid)
        finally:
            os.umask(previous)

    bench.compare(description, operations)


@pytest.mark.parametrize("mask", [0o000, 0o027, 0o777])
def test_the_umask_of_the_caller_counts(bench: Workbench, mask: int) -> None:
    def operations(trial: Trial) -> None:
        previous = os.umask(mask)
        try:
            actions.create(trial.path("file"), b"", 0o666)
            os.mkdir(trial.path("directory"), 0o777)
            os.mkfifo(trial.path("fifo"), 0o666)
            os.mknod(trial.path("node"), 0o100666)
        finally:
            os.umask(previous)

    bench.compare({}, operations)


def test_sticky_directories_protect_what_others_own(bench: Workbench) -> None:
    description = {
        "sticky": directory(0o1777),
        "sticky/mine": file(uid=PLAIN_USER),
        "sticky/theirs": file(uid=OTHER_USER),
        "sticky/their-directory": directory(uid=OTHER_USER),
        "sticky/over": file(uid=PLAIN_USER),
        "owned": directory(0o1777, uid=PLAIN_USER),
        "owned/theirs": file(uid=OTHER_USER),
    }

    def mine(trial: Trial) -> None:
        attempt, path = trial.attempt, trial.path
        attempt("unlink theirs", os.unlink, path("sticky/theirs"))
        attempt("rename theirs", os.rename, path("sticky/theirs"), path("sticky/x"))
        attempt("rmdir theirs", os.rmdir, path("sticky/their-directory"))
        attempt("rename over theirs", os.rename, path("sticky/mine"), path("sticky/theirs"))
        attempt("rename mine", os.rename, path("sticky/mine"), path("sticky/moved"))
        attempt("unlink mine", os.unlink, path("sticky/over"))
        attempt("unlink in my directory", os.unlink, path("owned/theirs"))
        attempt("unlink the new", os.unlink, path("sticky/new"))

    def operations(trial: Trial) -> None:
        trial.do_as(lambda trial: trial.attempt("create", actions.create, trial.path("sticky/new")), OTHER_USER)
        trial.do_as(mine, PLAIN_USER)

    bench.compare(description, operations)


def test_restrictive_modes_of_the_base_hold_for_a_plain_user(bench: Workbench) -> None:
    description = {
        "read-only": directory(0o555, uid=PLAIN_USER),
        "read-only/file": file(b"x", uid=PLAIN_USER),
        "no-search": directory(0o600, uid=PLAIN_USER),
        "no-search/file": file(b"x", mode=0o666),
        "no-list": directory(0o711, uid=OTHER_USER),
        "no-list/file": file(b"x"),
        "closed": directory(0o700),
        "closed/file": file(b"x", mode=0o666),
        "unreadable": file(b"x", mode=0o000, uid=PLAIN_USER),
        "write-only": file(b"x", mode=0o222),
        "execute-only": file(b"#!/bin/sh\n", mode=0o111),
        "group-none": file(b"x", mode=0o604, gid=PLAIN_USER),
    }

    def operations(trial: Trial) -> None:
        for name in description:
            path = trial.path(name)
            for label, call in (
                ("read", actions.read),
                ("list", os.listdir),
                ("append", lambda path: actions.append(path, b"!")),
                ("create", lambda path: actions.create(path + b"/new")),
                ("mkdir", lambda path: os.mkdir(path + b"/made")),
                ("unlink", os.unlink),
                ("truncate", lambda path: os.truncate(path, 0)),
                ("access", lambda path: [os.access(path, mode) for mode in (os.R_OK, os.W_OK, os.X_OK)]),
                ("chmod", lambda path: os.chmod(path, 0o777)),
                ("utime", lambda path: os.utime(path, ns=(1, 1))),
                ("utime now", os.utime),
                ("rename", lambda path: os.rename(path, path + b"-moved")),
                ("link", lambda path: os.link(path, path + b"-link")),
            ):
                trial.attempt(f"{name}: {label}", call, path)

    bench.compare({".": directory(0o755), **description}, lambda trial: trial.do_as(operations, PLAIN_USER))


def test_a_directory_of_mode_0555_can_be_filled_and_copied_up_by_root(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("create", actions.create, trial.path("d/new"), b"x")
        trial.attempt("mkdir 0555", os.mkdir, trial.path("made"), 0o555)
        trial.attempt("create in it", actions.create, trial.path("made/file"))
        trial.attempt("mkdir 0", os.mkdir, trial.path("none"), 0)
        trial.attempt("create in it too", actions.create, trial.path("none/file"), b"", 0)
        trial.attempt("append to mode 0", actions.append, trial.path("d/zero"), b"!")

    bench.compare({"d": directory(0o555), "d/zero": file(b"x", mode=0)}, operations)


def test_who_may_change_owner_group_and_mode(bench: Workbench) -> None:
    description = {
        "mine": file(uid=PLAIN_USER, gid=PLAIN_USER, mode=0o2755),
        "group": file(uid=PLAIN_USER, gid=555, mode=0o664),
        "theirs": file(uid=OTHER_USER),
        "roots": file(),
        "mine-directory": directory(uid=PLAIN_USER, mode=0o2755, gid=99),
        "link": symlink("mine", uid=PLAIN_USER),
    }

    def operations(trial: Trial) -> None:
        for name in description:
            path = trial.path(name)
            for label, call in (
                ("give away", lambda path: os.chown(path, OTHER_USER, -1, follow_symlinks=False)),
                ("own group", lambda path: os.chown(path, -1, PLAIN_USER, follow_symlinks=False)),
                ("supplementary group", lambda path: os.chown(path, -1, 555, follow_symlinks=False)),
                ("foreign group", lambda path: os.chown(path, -1, 666, follow_symlinks=False)),
                ("chmod 2770", lambda path: os.chmod(path, 0o2770)),
                ("chmod 6770", lambda path: os.chmod(path, 0o6770)),
                ("chmod 1770", lambda path: os.chmod(path, 0o1770)),
                ("describe", actions.describe),
            ):
                trial.attempt(f"{name}: {label}", call, path)

    bench.compare(description, lambda trial: trial.do_as(operations, PLAIN_USER, PLAIN_USER, (555,)))


def test_supplementary_groups_open_what_belongs_to_them(bench: Workbench) -> None:
    def change_both(trial: Trial, groups: tuple[int, ...]) -> None:
        for name in ("file", "d/inside"):
            path = trial.path(name)
            trial.attempt(f"{groups} {name}", actions.append, path, b"!")
            trial.attempt(f"{groups} {name} create", actions.create, path + b"-%d" % len(groups))

    def operations(trial: Trial) -> None:
        for groups in ((), (555,), (1, 2, 3, 555)):
            trial.do_as(functools.partial(change_both, groups=groups), PLAIN_USER, PLAIN_USER, groups)

    tree = {
        "file": file(b"x", mode=0o660, gid=555),
        "d": directory(0o770, gid=555),
        "d/inside": file(gid=555, mode=0o664),
    }
    bench.compare(tree, operations)


def _flags(path: bytes, wanted: int | None = None) -> int:
    """The two flags of a file, after they were set to `wanted`; the others, such as ext4's, stay."""
    both = FS_APPEND_FL | FS_IMMUTABLE_FL
    with actions.opened(path) as descriptor:
        value = array.array("l", [0])
        fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, value)
        if wanted is not None:
            value[0] = value[0] & ~both | wanted
            fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, value)
            fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, value)
        return value[0] & both


@pytest.mark.direct_only
@pytest.mark.parametrize("place", ["ext4"], indirect=True)
def test_immutable_and_append_only_flags(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for name in ("base", "new"):
            path = trial.path(name)
            if name == "new":
                actions.create(path, b"new")
            trial.attempt(f"{name} flags", _flags, path)
            trial.attempt(f"{name} append-only", _flags, path, FS_APPEND_FL)
            trial.attempt(f"{name} append", actions.append, path, b"!")
            trial.attempt(f"{name} write", actions.write, path, b"!")
            trial.attempt(f"{name} truncate", os.truncate, path, 0)
            trial.attempt(f"{name} unlink", os.unlink, path)
            trial.attempt(f"{name} immutable", _flags, path, FS_IMMUTABLE_FL)
            trial.attempt(f"{name} append immutable", actions.append, path, b"!")
            trial.attempt(f"{name} chmod", os.chmod, path, 0o600)
            trial.attempt(f"{name} rename", os.rename, path, path + b"-moved")
            trial.attempt(f"{name} link", os.link, path, path + b"-link")
            trial.attempt(f"{name} free", _flags, path, 0)
            trial.attempt(f"{name} write again", actions.write, path, b"?")

    bench.compare({"base": file(b"base")}, operations)


@pytest.mark.direct_only
@pytest.mark.parametrize("place", ["ext4"], indirect=True)
@pytest.mark.parametrize("name", ["file", "d"])
def test_setting_a_flag_moves_the_change_time_at_once(bench: Workbench, name: str) -> None:
    mount = bench.mounted({"file": file(b"x"), "d/inside": file()})
    path = mount.path + b"/" + name.encode()
    for flags in (0, FS_APPEND_FL, 0):
        before = os.stat(path)
        _flags(path, flags)
        assert os.stat(path).st_ctime_ns > before.st_ctime_ns
        assert os.stat(path).st_mtime_ns == before.st_mtime_ns


@pytest.mark.direct_only
def test_file_handles_are_refused_as_overlayfs_does(bench: Workbench) -> None:
    """They would go stale with the kernel's memory of the file."""
    mount = bench.mounted({"file": file(b"x"), "d/inside": file()})
    for name in (b"", b"/file", b"/d"):
        assert actions.error_of(functools.partial(syscalls.name_to_handle, mount.path + name)) == "ENOTSUP"


def test_programs_run_and_a_nosuid_mount_gives_no_rights(bench: Workbench) -> None:
    base = bench.base({"script": file(b"#!/bin/sh\necho ran\n", mode=0o755), "plain": file(b"#!/bin/sh\n", mode=0o644)})
    subprocess.run(["cp", "/usr/bin/id", str(base / "id")], check=True)
    os.chmod(base / "id", 0o4755)
    mount = bench.mount(base, start=False)
    mount.options = ["-o", "allow_other,suid"]
    mount.start()
    assert subprocess.run([mount.path + b"/script"], capture_output=True, check=True).stdout == b"ran\n"
    assert actions.error_of(lambda: subprocess.run([mount.path + b"/plain"], check=True)) == "EACCES"

    def effective_user() -> int:
        return int(subprocess.run([mount.path + b"/id", "-u"], capture_output=True, check=True).stdout)

    assert as_user(effective_user) == 0
    mount.stop()
    mount.options = ["-o", "allow_other,nosuid"]
    mount.start()
    assert as_user(effective_user) == PLAIN_USER


def test_only_the_mounting_user_may_enter_without_allow_other(bench: Workbench) -> None:
    mount = bench.mount(bench.base({"file": file(b"x")}), start=False)
    mount.options = []
    mount.start()
    assert as_user(lambda: actions.error_of(lambda: os.listdir(mount.path))) == "EACCES"
    assert actions.read(mount.path + b"/file") == b"x"
