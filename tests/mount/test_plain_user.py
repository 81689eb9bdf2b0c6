"""A daemon of a plain user: what he may not open himself must still be kept, copied up and removed for him."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import actions
from tests.harness.mounts import Mount
from tests.harness.snapshot import differences, snapshot, without
from tests.harness.trees import Entry, directory, fifo, file, link_to, make_tree, symlink
from tests.harness.trial import CLOCK_TICK_NS, Operations, Trial, compare
from tests.harness.users import as_user

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
