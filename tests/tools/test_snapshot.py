"""`cowfs snapshot`: the layer of a running mount is frozen, and whoever works in the mount notices nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.snapshot import Snapshot, differences, snapshot
from tests.harness.trees import directory, file, link_to, symlink
from tests.harness.users import as_user
from tests.tools.command import cowfs_forked as cowfs
from tests.tools.sessions import BASE, Session

pytestmark = pytest.mark.root


def _freeze(point: Path, target: Path) -> None:
    done = cowfs("snapshot", point, target)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{target}\n", "")


def _numbers(root: bytes) -> dict[bytes, int]:
    found = {}
    for where, directories, files in os.walk(root):
        for name in [*directories, *files]:
            path = os.path.join(where, name)
            found[os.path.relpath(path, root)] = os.lstat(path).st_ino
    return found


def _frozen(layer: Path) -> Snapshot:
    return snapshot(str(layer / "upper"), exact=True)


def test_open_files_go_on_and_the_frozen_layer_does_not_change(bench: Workbench) -> None:
    base = bench.base(
        {
            "below": file(b"below"),
            "changed": file(b"changed"),
            "one": file(b"linked"),
            "two": link_to("one"),
            "d/e/f": file(b"deep"),
            "gone": file(b"gone"),
            "moved/x": file(b"x"),
            "link": symlink("below"),
            "empty": directory(),
        }
    )
    mount = bench.mount(base)
    root = mount.path
    actions.append(root + b"/changed", b"!")
    actions.append(root + b"/one", b"!")
    actions.create(root + b"/new", b"new")
    os.link(root + b"/new", root + b"/other name")
    os.rename(root + b"/moved", root + b"/d/away")
    os.mkdir(root + b"/made")
    opened = {
        name: os.open(root + b"/" + name, os.O_RDWR)
        for name in (b"below", b"changed", b"two", b"new", b"d/e/f", b"gone")
    }
    os.unlink(root + b"/gone")
    actions.create(root + b"/unlinked", b"unlinked")
    opened[b"unlinked"] = os.open(root + b"/unlinked", os.O_RDWR)
    os.unlink(root + b"/unlinked")
    os.unlink(root + b"/new")
    inside = os.open(root + b"/d/e", os.O_RDONLY)
    before, numbers = snapshot(root), _numbers(root)
    opened_numbers = {name: os.fstat(fd).st_ino for name, fd in opened.items()}

    _freeze(mount.point, bench.place / "frozen")

    assert differences(before, snapshot(root)) == []
    assert _numbers(root) == numbers
    frozen = _frozen(bench.place / "frozen")
    for name, fd in opened.items():
        assert os.pwrite(fd, b"after", 1) == 5
        assert os.pread(fd, 6, 1)[:5] == b"after", name
        assert os.fstat(fd).st_ino == opened_numbers[name], name
        os.close(fd)
    assert os.listdir(inside) == ["f"]
    os.close(inside)
    assert actions.read(root + b"/one") == b"lafter!"
    assert actions.read(root + b"/two") == b"lafter!"
    assert actions.read(root + b"/other name") == b"nafter"
    assert not os.path.exists(root + b"/new")
    assert not os.path.exists(root + b"/unlinked")
    os.rename(root + b"/d/away", root + b"/made/again")
    os.unlink(root + b"/made/again/x")
    os.rmdir(root + b"/empty")
    assert _frozen(bench.place / "frozen") == frozen

    over = bench.mount(bench.place / "frozen", base, name="second")
    assert differences(before, snapshot(over.path)) == []
    over.stop()
    bench.bases.pop(bench.place / "frozen")  # the first mount goes on to use it

    shown, numbers = snapshot(root), _numbers(root)
    mount.stop()
    mount.base = f"{bench.place / 'frozen'}:{base}"
    mount.start()
    assert differences(shown, snapshot(root)) == []
    assert _numbers(root) == numbers
    assert not os.listdir(bench.place / "frozen/work/orphans")


@pytest.mark.parametrize("seed", range(60, 66))
def test_random_sessions_with_snapshots_between_them_stay_in_step_with_a_directory(bench: Workbench, seed: int) -> None:
    base, plain = bench.base(BASE), bench.place / "plain"
    subprocess.run(["cp", "-a", str(base), str(plain)], check=True)
    mount = bench.mount(base)
    for stage in range(3):
        for root in (mount.path, os.fsencode(plain)):
            Session(root, seed * 10 + stage).run(40)
        numbers = _numbers(mount.path)
        _freeze(mount.point, bench.place / f"frozen{stage}")
        assert _numbers(mount.path) == numbers
        _alike(plain, mount.path)
    mount.stop()
    mount.base = ":".join(str(bench.place / name) for name in ("frozen2", "frozen1", "frozen0", "base"))
    mount.start()
    _alike(plain, mount.path)


def _alike(plain: Path, mounted: bytes) -> None:
    """Times aside that say when something was done: the two were not changed at one moment."""
    left, right = (
        {name: node._replace(mtime="" if len(node.mtime) > 10 else node.mtime) for name, node in tree.items()}
        for tree in (snapshot(str(plain)), snapshot(mounted))
    )
    assert differences(left, right) == []


def test_a_frozen_layer_can_be_compared_committed_and_exported_at_once(bench: Workbench) -> None:
    base = bench.base({"a": file(b"x"), "b": link_to("a"), "c": file(b"y")})
    mount = bench.mount(base)
    actions.append(mount.path + b"/a", b"!")
    shown = snapshot(mount.path)
    _freeze(mount.point, bench.place / "frozen")
    os.unlink(mount.path + b"/c")
    assert cowfs("diff", "--name-status", bench.place / "frozen").stdout == "M\ta\nM\tb\n"
    assert cowfs("diff", "--name-status", mount.point).stdout == "D\tc\n"
    assert cowfs("commit", bench.place / "frozen", bench.place / "new").returncode == 0
    assert differences(shown, snapshot(str(bench.place / "new"))) == []
    refused = cowfs("discard", bench.place / "frozen")
    assert refused.returncode == 1
    assert "in use" in refused.stderr


def test_without_a_name_it_lies_beside_the_layer(bench: Workbench) -> None:
    mount = bench.mount(bench.base({"a": file(b"x")}))
    for number in (1, 2):
        assert cowfs("snapshot", mount.point).stdout == f"{mount.layer}.{number}\n"
    status = cowfs("status", mount.point).stdout
    assert f"base        {mount.layer}.2\nbase        {mount.layer}.1\nbase        {bench.place}/base\n" in status


def test_what_cannot_be_frozen_goes_on_as_it_was(bench: Workbench) -> None:
    mount = bench.mount(bench.base({"a": file(b"x")}))
    taken = bench.place / "taken"
    taken.mkdir()

    def refused(words: str, *arguments: Path) -> None:
        before = sorted(os.listdir(bench.place))
        done = cowfs("snapshot", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr, done.stderr
        assert sorted(os.listdir(bench.place)) == before

    refused("exists already", mount.point, taken)
    refused("another file system", mount.point, Path("/dev/cowfs-test-frozen"))
    refused("No such file", mount.point, bench.place / "nowhere" / "frozen")
    refused("no cowfs is mounted", taken, bench.place / "frozen")
    actions.create(mount.path + b"/still", b"works")
    assert not (bench.place / ".mnt-layer.next").exists()


def test_only_the_user_of_the_daemon_and_root_are_answered(bench: Workbench) -> None:
    mount = bench.mount(bench.base({"a": file(b"x")}))
    assert mount.layer is not None
    control = mount.layer / "control"
    for path in (mount.layer, control):
        path.chmod(0o777)  # nobody does, but then the daemon looks itself
    target = bench.place / "frozen"

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(control))
            connection.sendall(json.dumps({"snapshot": str(target)}).encode() + b"\n")
            return connection.recv(1000)

    assert as_user(ask) == b""
    assert not target.exists()
    assert ask() == b"{}\n"
    assert target.exists()


def test_a_question_that_makes_no_sense_is_answered_so(bench: Workbench) -> None:
    mount = bench.mount(bench.base({"a": file(b"x")}))
    for question in (b"\n", b"\xff\n", b"{}\n", b'{"snapshot": "relative"}\n', b"[" * 9000 + b"\n"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(bench.place / "mnt-layer/control"))
            connection.sendall(question)
            assert b"does not understand" in connection.recv(1000)
    assert (mount.point / "a").read_bytes() == b"x"


def test_the_quota_counts_the_new_layer_only(bench: Workbench) -> None:
    mount = bench.mount(bench.base({"a": file(b"x")}), start=False)
    mount.options = [*mount.options, "--quota", "4M"]
    mount.start()
    (mount.point / "one").write_bytes(b"1" * (3 << 20))
    _freeze(mount.point, bench.place / "frozen")
    (mount.point / "two").write_bytes(b"2" * (3 << 20))
    assert actions.error_of(lambda: (mount.point / "three").write_bytes(b"3" * (3 << 20))) == "ENOSPC"
    mount.stop()
    shutil.rmtree(bench.place / "frozen")
