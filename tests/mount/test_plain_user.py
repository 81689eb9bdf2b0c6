"""A daemon of a plain user: what he may not open himself must still be kept, copied up and removed for him."""

from __future__ import annotations

import os
import pwd
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.mounts import Mount
from tests.harness.snapshot import differences, snapshot, without
from tests.harness.trees import Entry, character_device, directory, fifo, file, link_to, make_tree, symlink
from tests.harness.trial import CLOCK_TICK_NS, Operations, Trial, compare
from tests.harness.users import OTHER_USER, as_user

pytestmark = pytest.mark.root

NOBODY = pwd.getpwnam("nobody")  # fusermount3 wants a user with a name
OWNED = {"uid": NOBODY.pw_uid, "gid": NOBODY.pw_gid}


def _owned(make: Callable[..., Entry], *arguments: object, **rest: object) -> Entry:
    return make(*arguments, **rest, **OWNED)


BASE = {
    ".": _owned(directory),
    "read-only": _owned(directory, 0o555),
    "read-only/file": _owned(file, b"in a read-only directory", mode=0o444),
    "read-only/sub": _owned(directory, 0o555),
    "read-only/sub/deep": _owned(file, b"deep", mode=0o400),
    "closed": _owned(directory),
    "none": _owned(file, b"mode 0"),
    "none-too": _owned(file, b"mode 0 too" * 1000),
    "write-only": _owned(file, b"write-only"),
    "execute-only": _owned(file, b"execute-only"),
    "linked": _owned(file, b"linked", mode=0o400),
    "linked-too": link_to("linked"),
    "symlink": _owned(symlink, "none"),
    "fifo": _owned(fifo, 0o000),
    "d/file": _owned(file, b"file"),
    "d": _owned(directory),
    "remade/old": _owned(file, b"old"),
    "remade": _owned(directory),
    "renamed/inside": _owned(file, b"inside"),
    "renamed/sub/deep": _owned(file, b"deep"),
    "renamed/sub": _owned(directory),
    "renamed": _owned(directory),
}


def _shut_directories(trial: Trial) -> None:
    """Directories made anew over one of the base, and moved ones, that their owner may enter but not read."""
    path = trial.path
    os.unlink(path("remade/old"))
    os.rmdir(path("remade"))
    os.mkdir(path("remade"))
    actions.create(path("remade/new"), b"new")
    os.rename(path("renamed"), path("was-renamed"))
    for name in ("remade", "was-renamed"):
        trial.attempt(f"{name}: chmod", os.chmod, path(name), 0o300)
        trial.attempt(f"{name}: describe", actions.describe, path(name))
        for below in ("old", "new", "inside", "sub/deep"):
            trial.attempt(f"{name}: read {below}", actions.read, path(f"{name}/{below}"))
        trial.attempt(f"{name}: create", actions.create, path(f"{name}/created"), b"created")
        trial.attempt(f"{name}: list", os.listdir, path(name))


def _open_directories(trial: Trial) -> None:
    for name in ("remade", "was-renamed"):
        for below in ("old", "new", "inside", "sub/deep", "created"):
            trial.attempt(f"{name}: read {below}", actions.read, trial.path(f"{name}/{below}"))
        trial.attempt(f"{name}: open it", os.chmod, trial.path(name), 0o755)


def _closed_things(trial: Trial) -> None:
    """In the base their owner can read them, or the daemon could not either (docs/limits.md)."""
    path = trial.path
    for name, mode in (("closed", 0), ("none", 0), ("none-too", 0), ("write-only", 0o222), ("execute-only", 0o111)):
        trial.attempt(f"chmod {name}", os.chmod, path(name), mode)
    trial.attempt("create in read-only", actions.create, path("read-only/new"))
    trial.attempt("append to read-only", actions.append, path("read-only/file"), b"!")
    trial.attempt("unlink in read-only", os.unlink, path("read-only/file"))
    trial.attempt("chmod in read-only", os.chmod, path("read-only/file"), 0o644)
    trial.attempt("append after chmod", actions.append, path("read-only/file"), b"!")
    trial.attempt("utime deep in read-only", os.utime, path("read-only/sub/deep"), ns=(1, 1))
    trial.attempt("chmod read-only", os.chmod, path("read-only"), 0o755)
    trial.attempt("create after chmod", actions.create, path("read-only/new"), b"new")
    trial.attempt("rename read-only", os.rename, path("read-only"), path("moved"))
    trial.attempt("rename into", os.rename, path("moved/sub"), path("moved/sub2"))
    trial.attempt("list closed", os.listdir, path("closed"))
    trial.attempt("rename closed", os.rename, path("closed"), path("closed2"))
    trial.attempt("read none", actions.read, path("none"))
    trial.attempt("append none", actions.append, path("none"), b"!")
    trial.attempt("utime none", os.utime, path("none"), ns=(5, 5))
    trial.attempt("rename none", os.rename, path("none"), path("d/none"))
    trial.attempt("link none", os.link, path("none-too"), path("d/none-link"))
    trial.attempt("unlink none", os.unlink, path("none-too"))
    trial.attempt("chmod none", os.chmod, path("d/none-link"), 0o600)
    trial.attempt("read it", actions.read, path("d/none-link"))
    trial.attempt("append write-only", actions.append, path("write-only"), b"!")
    trial.attempt("read write-only", actions.read, path("write-only"))
    trial.attempt("truncate write-only", os.truncate, path("write-only"), 3)
    trial.attempt("truncate execute-only", os.truncate, path("execute-only"), 3)
    trial.attempt("setxattr execute-only", os.setxattr, path("execute-only"), "user.a", b"1")
    trial.attempt("chmod linked", os.chmod, path("linked"), 0o200)
    trial.attempt("append linked", actions.append, path("linked-too"), b"!")
    trial.attempt("chmod fifo", os.chmod, path("fifo"), 0o600)
    trial.attempt("symlink times", os.utime, path("symlink"), ns=(9, 9), follow_symlinks=False)
    for mode in (0o555, 0o000, 0o700):
        made = path(f"made-{mode:o}")
        trial.attempt(f"mkdir {mode:o}", os.mkdir, made, mode)
        trial.attempt(f"create in {mode:o}", actions.create, made + b"/file", b"x", 0o400)
        trial.attempt(f"mkdir in {mode:o}", os.mkdir, made + b"/sub", 0o555)
    trial.attempt("create mode 0", actions.create, path("new-none"), b"written by its maker", 0)
    trial.attempt("read mode 0", actions.read, path("new-none"))
    descriptor = os.open(path("d/file"), os.O_RDWR)
    trial.attempt("fchmod 0", os.fchmod, descriptor, 0)
    trial.attempt("write open", os.pwrite, descriptor, b"FILE", 0)
    trial.attempt("unlink open", os.unlink, path("d/file"))
    trial.attempt("read open", os.pread, descriptor, 10, 0)
    trial.attempt("close", os.close, descriptor)
    trial.attempt("give away", os.chown, path("linked"), 0, 0)


@pytest.mark.usefixtures("fuse_for_everybody")
@pytest.mark.parametrize(
    ("before_remount", "after_it"),
    [(_closed_things, None), (_shut_directories, _open_directories)],
    ids=["files", "directories"],
)
def test_a_plain_users_daemon_does_what_his_directory_would_do(
    place: Path, engine: str, before_remount: Operations, after_it: Operations | None
) -> None:
    home = place / "home"
    for name in ("base", "plain"):
        make_tree(str(home / name), BASE)
    (home / "mnt").mkdir()
    for path in (home, home / "mnt"):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    before = snapshot(str(home / "base"), exact=True)

    def run() -> None:
        now = time.time_ns() - CLOCK_TICK_NS
        mount = Mount(str(home / "base"), home / "mnt", home / "layer", engine, home / "log", options=())

        def unmount() -> None:
            subprocess.run(["fusermount3", "-u", str(mount.point)], check=True)
            assert mount.wait() == 0

        mount.start()
        try:
            compare(str(home / "plain"), mount.path, before_remount, now=now)
            tree = snapshot(mount.path)
            unmount()
            mount.start()
            assert differences(tree, snapshot(mount.path)) == []
            if after_it:
                compare(str(home / "plain"), mount.path, after_it, now=now)
        finally:
            unmount()

    as_user(run, NOBODY.pw_uid, NOBODY.pw_gid)
    assert differences(before, snapshot(str(home / "base"), exact=True)) == []


@pytest.mark.usefixtures("fuse_for_everybody")
def test_a_plain_users_daemon_shows_what_belongs_to_others(place: Path, engine: str) -> None:
    """Files of others are shown as they are; changing their owner's things fails as for any plain user."""
    home = place / "home"
    make_tree(str(home / "base"), {".": _owned(directory), "roots": file(b"root's"), "secret": file(b"x", mode=0o600)})
    (home / "mnt").mkdir()
    for path in (home, home / "mnt"):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    before = snapshot(str(home / "base"), exact=True)

    def run() -> list[str]:
        mount = Mount(str(home / "base"), home / "mnt", home / "layer", engine, home / "log", options=())
        mount.start()
        top = mount.path
        try:
            errors = [
                actions.error_of(lambda: actions.append(top + b"/roots", b"!")),
                actions.error_of(lambda: os.chmod(top + b"/roots", 0o777)),
                actions.error_of(lambda: actions.read(top + b"/secret")),
                actions.error_of(lambda: os.unlink(top + b"/secret")),
            ]
            assert actions.read(top + b"/roots") == b"root's"
            assert os.listdir(top) == [b"roots"]
        finally:
            subprocess.run(["fusermount3", "-u", str(mount.point)], check=True)
            assert mount.wait() == 0
        return errors

    assert as_user(run, NOBODY.pw_uid, NOBODY.pw_gid) == ["EACCES", "EPERM", "EACCES", ""]
    assert without(before, "identity") == without(snapshot(str(home / "base"), exact=True), "identity")


# An ACL, as its attribute: user::rwx user:OTHER_USER:rwx group::--- mask::rwx other::r-x.
_ENTRIES = ((1, 7, -1), (2, 7, OTHER_USER), (4, 0, -1), (16, 7, -1), (32, 5, -1))
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in _ENTRIES)
# cap_net_raw+ep of capabilities(7), as only root may set it.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)

OF_ROOT = {
    ".": directory(0o2775, xattrs={"system.posix_acl_access": ACL, "user.a": b"1", "trusted.t": b"2"}),
    "file": file(b"root's"),
    "secret": file(b"x", mode=0o600),
    "for-all": file(b"for all", mode=0o666),
    "setuid": file(b"setuid", mode=0o6777),
    "capable": file(b"capable", mode=0o777, xattrs={"security.capability": CAPABILITY}),
    "linked": file(b"linked", mode=0o666),
    "linked-too": link_to("linked"),
    "large": file(b"x" * 1_000_000, mode=0o666),
    "symlink": symlink("file"),
    "fifo": fifo(0o666),
    "device": character_device(1, 3, 0o666),
    "d/file": file(b"in a directory of root's"),
    "d/mine": _owned(file, b"the user's in a directory of root's"),
    "closed/in": file(b"unseen"),
    "closed": directory(0o700),
    "sticky/for-all": file(b"for all", mode=0o666),
    "sticky": directory(0o1777, xattrs={"user.b": b"3"}),
    "group": directory(0o2777),
    "acl/mine": _owned(file, b"mine"),
    "acl": directory(0o775, xattrs={"system.posix_acl_access": ACL}),
}


def _roots_base(place: Path) -> Path:
    """A directory of the user's with root's base, an empty mount point and a place for layers."""
    home = place / "home"
    make_tree(str(home / "base"), OF_ROOT)
    (home / "mnt").mkdir()
    for path in (home, home / "mnt"):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    return home


def _use_what_is_roots(top: bytes) -> dict[str, str]:
    """What a plain user tries in a mount, and the errno of each that fails."""

    def path(name: str) -> bytes:
        return os.path.join(top, os.fsencode(name))

    attempts: dict[str, Callable[[], object]] = {
        "read": lambda: actions.read(path("file")),
        "create": lambda: actions.create(path("new"), b"new"),
        "make a directory": lambda: os.mkdir(path("new-d")),
        "append for-all": lambda: actions.append(path("for-all"), b"!"),
        "append large": lambda: actions.append(path("large"), b"!"),
        "append setuid": lambda: actions.append(path("setuid"), b"!"),
        "append capable": lambda: actions.append(path("capable"), b"!"),
        "append linked": lambda: actions.append(path("linked"), b"!"),
        "append mine": lambda: actions.append(path("d/mine"), b"!"),
        "create in acl": lambda: actions.create(path("acl/new")),
        "append acl/mine": lambda: actions.append(path("acl/mine"), b"!"),
        "append in sticky": lambda: actions.append(path("sticky/for-all"), b"!"),
        "create in sticky": lambda: actions.create(path("sticky/new")),
        "create in group": lambda: actions.create(path("group/new")),
        "append file": lambda: actions.append(path("file"), b"!"),
        "chmod file": lambda: os.chmod(path("file"), 0o777),
        "read secret": lambda: actions.read(path("secret")),
        "list closed": lambda: os.listdir(path("closed")),
        "rename device": lambda: os.rename(path("device"), path("device2")),
        "rename file": lambda: os.rename(path("file"), path("file2")),
        "rename symlink": lambda: os.rename(path("symlink"), path("symlink2")),
        "rename fifo": lambda: os.rename(path("fifo"), path("fifo2")),
        "rename d": lambda: os.rename(path("d"), path("d2")),
        "unlink secret": lambda: os.unlink(path("secret")),
    }
    return {name: error for name, attempt in attempts.items() if (error := actions.error_of(attempt))}


# Exactly what the user may not do to root's files, whatever file system they are on; but for the device, which only
# root could make.
REFUSED = {
    "append file": "EACCES",
    "chmod file": "EPERM",
    "create in acl": "EACCES",
    "read secret": "EACCES",
    "list closed": "EACCES",
    "rename device": "EPERM",
}


@pytest.mark.usefixtures("fuse_for_everybody")
def test_a_plain_user_mounts_what_is_roots(place: Path, engine: str) -> None:
    home = _roots_base(place)
    before = snapshot(str(home / "base"), exact=True)

    def run() -> None:
        mount = Mount(str(home / "base"), home / "mnt", home / "layer", engine, home / "log", options=())
        top = mount.path

        def unmount() -> None:
            subprocess.run(["fusermount3", "-u", str(mount.point)], check=True)
            assert mount.wait() == 0

        mount.start()
        try:
            shown = os.stat(top + b"/for-all")
            assert (shown.st_uid, shown.st_gid) == (0, 0)
            assert _use_what_is_roots(top) == REFUSED
            for name in ("for-all", "large", "setuid", "sticky", "group", "file2", "d2", "symlink2", "fifo2", "linked"):
                assert os.lstat(top + b"/" + name.encode()).st_uid == NOBODY.pw_uid, name
            tree = snapshot(mount.path)
            unmount()
            mount.start()
            assert differences(tree, snapshot(mount.path)) == []
            assert actions.read(top + b"/linked-too") == b"linked!"
            assert actions.read(top + b"/d2/mine").endswith(b"!")
            modes = {name: os.stat(top + b"/" + name).st_mode & 0o7777 for name in (b"setuid", b"sticky", b"group")}
            assert modes == {b"setuid": 0o777, b"sticky": 0o1777, b"group": 0o777}
            assert os.getxattr(top + b"/acl", "system.posix_acl_access") == ACL
            assert os.getxattr(top, "user.a") == b"1"
        finally:
            unmount()

    as_user(run, NOBODY.pw_uid, NOBODY.pw_gid)
    assert without(before, "identity") == without(snapshot(str(home / "base"), exact=True), "identity")


@pytest.mark.usefixtures("fuse_for_everybody")
@pytest.mark.parametrize("kept", [True, False], ids=["layer", "temporary"])
def test_a_plain_user_mounts_read_only_what_is_roots(place: Path, engine: str, kept: bool) -> None:
    home = _roots_base(place)

    def run() -> None:
        layer = home / "layer" if kept else None
        mount = Mount(str(home / "base"), home / "mnt", layer, engine, home / "log", options=("-o", "ro"))
        mount.start()
        try:
            assert actions.read(mount.path + b"/d/file") == b"in a directory of root's"
            assert actions.error_of(lambda: actions.create(mount.path + b"/new")) == "EROFS"
        finally:
            subprocess.run(["fusermount3", "-u", str(mount.point)], check=True)
            assert mount.wait() == 0

    as_user(run, NOBODY.pw_uid, NOBODY.pw_gid)


@pytest.mark.usefixtures("fuse_for_everybody")
def test_root_of_a_user_namespace_mounts_what_belongs_to_ids_that_it_has_not(place: Path, engine: str) -> None:
    """As after `unshare -r`. The kernel itself lets nobody remove or rename what belongs to such ids."""
    home = _roots_base(place)

    def run() -> dict[str, str]:
        uid, gid = os.getuid(), os.getgid()
        syscalls.make_dumpable()
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path("/proc/self", name).write_text(text)
        mount = Mount(str(home / "base"), home / "mnt", home / "layer", engine, home / "log", options=())
        mount.start()
        try:
            errors = _use_what_is_roots(mount.path)
            mount.remount()
            assert actions.read(mount.path + b"/new") == b"new"
            assert actions.read(mount.path + b"/d/mine").endswith(b"!")
            # The ACL's user has no id here.
            assert os.stat(mount.path + b"/acl").st_uid == 0
            assert len(os.getxattr(mount.path + b"/acl", "system.posix_acl_access")) == len(ACL) - 8
        finally:
            assert mount.stop() == 0
        return errors

    errors = as_user(run, NOBODY.pw_uid, NOBODY.pw_gid)
    for name in ("read", "create", "make a directory", "append mine", "append acl/mine"):
        assert name not in errors
    assert set(errors.values()) <= {"EACCES", "EPERM", "EOVERFLOW"}
