"""Extended attributes of every namespace, access control lists, and the layer's own marks."""

from __future__ import annotations

import functools
import os
import subprocess

import pytest

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.trees import character_device, directory, fifo, file, link_to, symlink
from tests.harness.trial import Trial
from tests.harness.users import PLAIN_USER, as_user

BASE = {
    "file": file(b"content", xattrs={"user.base": b"from the base", "user.removed": b"1"}),
    "linked": link_to("file"),
    "d": directory(xattrs={"user.base": b"directory"}),
    "d/inside": file(),
    "symlink": symlink("file"),
    "fifo": fifo(),
}


def _names(path: bytes) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=False))


@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
@pytest.mark.root
def test_set_get_list_and_remove_in_every_namespace(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for name in BASE:
            path = trial.path(name)
            for space in ("user", "trusted", "security"):
                key = f"{space}.cowfs_test"
                label = f"{name} {key}"
                trial.attempt(f"{label}: get none", os.getxattr, path, key, follow_symlinks=False)
                trial.attempt(
                    f"{label}: replace none", os.setxattr, path, key, b"1", os.XATTR_REPLACE, follow_symlinks=False
                )
                trial.attempt(f"{label}: set", os.setxattr, path, key, b"one\0two", follow_symlinks=False)
                trial.attempt(f"{label}: create", os.setxattr, path, key, b"1", os.XATTR_CREATE, follow_symlinks=False)
                trial.attempt(f"{label}: get", os.getxattr, path, key, follow_symlinks=False)
                trial.attempt(f"{label}: empty", os.setxattr, path, key + "2", b"", follow_symlinks=False)
                trial.attempt(f"{label}: remove", os.removexattr, path, key, follow_symlinks=False)
                trial.attempt(f"{label}: remove again", os.removexattr, path, key, follow_symlinks=False)
            trial.attempt(f"{name} list", _names, path)
        trial.attempt("remove the base's", os.removexattr, trial.path("file"), "user.removed")
        trial.attempt("gone from its link", os.getxattr, trial.path("linked"), "user.removed")
        trial.attempt("no namespace", os.setxattr, trial.path("file"), "nonsense", b"1")
        trial.attempt("unknown namespace", os.setxattr, trial.path("file"), "nonsense.x", b"1")
        trial.attempt("empty name", os.setxattr, trial.path("file"), "", b"1")
        trial.attempt("only the namespace", os.setxattr, trial.path("file"), "user.", b"1")

    bench.compare(BASE, operations)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 4000, 65536, 65537])
def test_values_of_every_size(bench: Workbench, size: int) -> None:
    def operations(trial: Trial) -> None:
        value = bytes(number % 251 for number in range(size))
        trial.attempt("set", os.setxattr, trial.path("file"), "user.long", value)
        trial.attempt("get", os.getxattr, trial.path("file"), "user.long")
        trial.attempt("long name", os.setxattr, trial.path("file"), "user." + "n" * 250, b"1")
        trial.attempt("longer name", os.setxattr, trial.path("file"), "user." + "n" * 251, b"1")
        trial.attempt("list", _names, trial.path("file"))

    bench.compare(BASE, operations)


def test_many_attributes_survive_copy_up(bench: Workbench) -> None:
    attributes = {f"user.number{number}": bytes([number]) * (number * 7) for number in range(60)}

    def operations(trial: Trial) -> None:
        actions.append(trial.path("file"), b"!")
        os.chmod(trial.path("d"), 0o700)

    bench.compare({"file": file(b"x", xattrs=attributes), "d": directory(xattrs=attributes)}, operations)


OVERLAY_MARKS = ("opaque", "redirect", "origin", "metacopy", "impure", "nlink", "upper", "whiteout", "protattr", "uuid")


@pytest.mark.root
def test_the_layers_own_marks_are_not_seen(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    actions.append(mount.path + b"/file", b"!")
    os.rename(mount.path + b"/d", mount.path + b"/e")
    os.mkdir(mount.path + b"/d")
    actions.append(mount.path + b"/e/inside", b"!")
    for _ in range(2):
        for name in (b"", b"/file", b"/d", b"/e", b"/e/inside"):
            listed = os.listxattr(mount.path + name)
            assert [one for one in listed if "overlay" in one or "cowfs" in one] == []
            for mark in OVERLAY_MARKS:
                for space in ("trusted", "user"):
                    key = f"{space}.overlay.{mark}"
                    error = actions.error_of(functools.partial(os.getxattr, mount.path + name, key))
                    assert error in ("ENODATA", "ENOTSUP", "EPERM"), key
        mount.remount()


@pytest.mark.root
@pytest.mark.parametrize("space", ["trusted", "user"])
def test_the_layers_own_marks_cannot_be_set_to_mislead(bench: Workbench, space: str) -> None:
    """Whatever the caller is told, after it and after a remount the tree is the one it was."""
    mount = bench.mounted(BASE | {"e/x": file(b"x")})
    os.chmod(mount.path + b"/d", 0o750)
    actions.append(mount.path + b"/file", b"!")
    for mark, value in (("opaque", b"y"), ("redirect", b"/e"), ("metacopy", b""), ("whiteout", b""), ("origin", b"x")):
        for name in (b"/d", b"/file", b"/e", b"/fifo"):
            actions.error_of(functools.partial(os.setxattr, mount.path + name, f"{space}.overlay.{mark}", value))
    for _ in range(2):
        assert os.listdir(mount.path + b"/d") == [b"inside"]
        assert os.listdir(mount.path + b"/e") == [b"x"]
        assert actions.read(mount.path + b"/linked") == b"content!"
        mount.remount()


@pytest.mark.root
def test_marks_in_the_base_are_not_shown(bench: Workbench) -> None:
    """A base that is itself an overlay layer: its marks steer the union and stay out of sight."""
    lower = bench.base({"d/low": file()}, "lower")
    upper = bench.base(
        {"d": directory(xattrs={"trusted.overlay.opaque": b"y", "user.mine": b"1"}), "d/up": file()}, "u"
    )
    mount = bench.mount(upper, lower)
    assert os.listxattr(mount.path + b"/d") == ["user.mine"]
    os.chmod(mount.path + b"/d", 0o700)
    assert os.listxattr(mount.path + b"/d") == ["user.mine"]
    mount.remount()
    assert os.listdir(mount.path + b"/d") == [b"up"]


@pytest.mark.root
def test_a_plain_user_may_set_what_the_kernel_lets_him(bench: Workbench) -> None:
    description = {
        "mine": file(b"x", uid=PLAIN_USER),
        "roots": file(b"x", mode=0o644),
        "readable": file(b"x", mode=0o600, xattrs={"user.a": b"1"}),
        "sticky": directory(0o1777),
        "trusted": file(b"x", mode=0o644, xattrs={"trusted.a": b"1"}),
    }

    def operations(trial: Trial) -> None:
        for name in description:
            path = trial.path(name)
            for key in ("user.a", "trusted.a", "security.a"):
                for label, call in (
                    ("set", functools.partial(os.setxattr, path, key, b"1")),
                    ("get", functools.partial(os.getxattr, path, key)),
                    ("remove", functools.partial(os.removexattr, path, key)),
                ):
                    trial.attempt(f"{name} {key} {label}", call)
            trial.attempt(f"{name} list", _names, path)

    bench.compare(description, lambda trial: trial.do_as(operations, PLAIN_USER))


def _setfacl(*arguments: str | bytes) -> int:
    return subprocess.run(["setfacl", *arguments], stderr=subprocess.DEVNULL, check=False).returncode


def _getfacl(path: bytes) -> bytes:
    done = subprocess.run(["getfacl", "-cnp", path], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else done.stderr


@pytest.mark.root
@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_access_control_lists_and_modes_keep_in_step(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        path = trial.path("file")
        trial.attempt("set", _setfacl, "-m", f"u:{PLAIN_USER}:rw,g:77:r", path)
        trial.note("mode", oct(os.stat(path).st_mode))
        trial.note("list", _getfacl(path))
        trial.attempt("chmod", os.chmod, path, 0o750)
        trial.note("after chmod", _getfacl(path))
        trial.attempt("mask", _setfacl, "-m", "m::r", path)
        trial.note("mode by mask", oct(os.stat(path).st_mode))
        trial.attempt("minimal", _setfacl, "-b", path)
        trial.note("without", _getfacl(path))
        trial.note("mode without", oct(os.stat(path).st_mode))
        trial.attempt("default on a file", _setfacl, "-d", "-m", "u:5:r", path)
        trial.attempt("default", _setfacl, "-d", "-m", f"u:{PLAIN_USER}:rwx,g::rx,o::-", trial.path("d"))
        trial.note("default list", _getfacl(trial.path("d")))
        trial.attempt("bad", os.setxattr, path, "system.posix_acl_access", b"nonsense")
        trial.attempt("access list read", os.getxattr, path, "system.posix_acl_access")

    bench.compare(BASE, operations)


@pytest.mark.root
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_a_default_list_is_inherited_instead_of_the_umask(
    bench: Workbench, mask: int, engine: str, request: pytest.FixtureRequest
) -> None:
    if engine == "pyfuse3" and mask:
        reason = "pyfuse3 cannot ask the kernel to leave the umask to it (docs/limits.md)"
        request.applymarker(pytest.mark.xfail(reason=reason))

    def operations(trial: Trial) -> None:
        top = trial.path("d")
        _setfacl("-d", "-m", f"u:{PLAIN_USER}:rwx,g::rx,o::x,m::rwx", top)
        previous = os.umask(mask)
        try:
            actions.create(top + b"/file", b"", 0o666)
            actions.create(top + b"/private", b"", 0o600)
            os.mkdir(top + b"/directory", 0o777)
            os.mkdir(top + b"/directory/deeper", 0o755)
            os.mkfifo(top + b"/fifo", 0o666)
            os.mknod(top + b"/node", 0o100664)
            os.symlink(b"x", top + b"/symlink")
            actions.create(trial.path("beside"), b"", 0o666)
            os.mkdir(trial.path("directory-beside"), 0o777)
        finally:
            os.umask(previous)
        for name in ("file", "private", "directory", "directory/deeper", "fifo", "node"):
            trial.note(name, _getfacl(top + b"/" + name.encode()))

    bench.compare(BASE, operations)


@pytest.mark.root
def test_an_access_list_of_the_base_decides_who_may_enter(bench: Workbench) -> None:
    base = bench.base({"secret": file(b"secret", mode=0o600), "d": directory(0o700), "d/x": file()})
    _setfacl("-m", f"u:{PLAIN_USER}:rw", os.fsencode(base / "secret"))
    _setfacl("-m", f"u:{PLAIN_USER}:rx", os.fsencode(base / "d"))
    mount = bench.mount(base)
    secret = mount.path + b"/secret"
    assert as_user(lambda: actions.read(secret)) == b"secret"
    assert as_user(lambda: os.listdir(mount.path + b"/d")) == [b"x"]
    assert as_user(lambda: actions.error_of(lambda: actions.read(secret)), uid=99) == "EACCES"
    as_user(lambda: actions.append(secret, b"!"))
    assert as_user(lambda: actions.error_of(lambda: actions.create(mount.path + b"/d/new"))) == "EACCES"
    mount.remount()
    assert as_user(lambda: actions.read(secret)) == b"secret!"


@pytest.mark.root
def test_device_nodes_and_sockets_take_attributes_as_on_a_plain_directory(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for name in ("device", "fifo"):
            trial.attempt(f"{name} user", os.setxattr, trial.path(name), "user.a", b"1")
            trial.attempt(f"{name} trusted", os.setxattr, trial.path(name), "trusted.a", b"1")

    bench.compare({"device": character_device(1, 3), "fifo": fifo()}, operations)
