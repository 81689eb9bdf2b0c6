"""Accidents: a killed daemon, a full disk, too few descriptors, a base that changes beneath its mount."""

from __future__ import annotations

import functools
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount
from tests.harness.trees import directory, file, link_to

pytestmark = pytest.mark.root

KILLS = 25
BASE = {f"d{number % 5}/f{number:03}": file(b"base %03d\n" % number * 300) for number in range(60)}


def _work_until_killed(mount: Mount, report: int, seed: int) -> None:
    """Change the tree for ever, telling each change in `report` when it is done: name, then length and end."""
    randomly = random.Random(seed)
    names = sorted(BASE)
    for turn in range(1_000_000):
        name = randomly.choice(names)
        path = mount.path + b"/" + name.encode()
        kind = turn % 5
        if kind == 0:
            actions.append(path, b"turn %06d\n" % turn)
            os.write(report, b"append %s %06d\n" % (name.encode(), turn))
        elif kind == 1:
            actions.create(path + b"-new%06d" % turn, b"new %06d" % turn)
            os.write(report, b"create %s-new%06d new %06d\n" % (name.encode(), turn, turn))
        elif kind == 2:
            os.rename(path, path + b"-moved")
            os.rename(path + b"-moved", path)
        elif kind == 3:
            os.chmod(path, 0o600 + turn % 64)
            os.write(report, b"chmod %s %o\n" % (name.encode(), 0o600 + turn % 64))
        else:
            made = mount.path + b"/made%06d" % turn
            os.mkdir(made)
            os.write(report, b"mkdir made%06d\n" % turn)


def _check(mount: Mount, reported: list[bytes]) -> None:
    """Everything reported as done is there, and every base file is whole."""
    modes: dict[bytes, int] = {}
    appended: dict[bytes, list[bytes]] = {}
    for line in reported:
        verb, name, *rest = line.split(b" ")
        path = mount.path + b"/" + name
        if verb == b"append":
            appended.setdefault(name, []).append(rest[0])
        elif verb == b"create":
            assert actions.read(path) == b" ".join(rest)
        elif verb == b"chmod":
            modes[name] = int(rest[0], 8)
        else:
            assert os.path.isdir(path)
    for known, entry in BASE.items():
        path = mount.path + b"/" + known.encode()
        if not os.path.exists(path):
            path += b"-moved"  # killed between two renames
        content = actions.read(path)
        assert content.startswith(entry.content)
        for turn in appended.get(known.encode(), ()):
            assert b"turn %s\n" % turn in content
    for name, mode in modes.items():
        path = mount.path + b"/" + name
        status = os.stat(path if os.path.exists(path) else path + b"-moved")
        assert status.st_mode & 0o777 in (mode, *range(0o600, 0o700))


def test_a_killed_daemon_loses_nothing_it_had_done(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    assert mount.layer is not None
    reported: list[bytes] = []
    for turn in range(KILLS):
        reading, writing = os.pipe()
        worker = os.fork()
        if worker == 0:
            os.close(reading)
            try:
                _work_until_killed(mount, writing, turn)
            except OSError:
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writing)
        time.sleep(0.01 + 0.004 * turn)
        assert mount.daemon
        os.kill(mount.daemon, signal.SIGKILL)
        with os.fdopen(reading, "rb") as pipe:
            reported += pipe.read().splitlines()
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0
        mount.kill()
        mount.start()
        if turn % 5 == 4:
            _check(mount, reported)
    _check(mount, reported)
    assert len(reported) > KILLS
    mount.stop()
    left = [name for _, _, files in os.walk(mount.layer / "work") for name in files if name != "lock"]
    assert left == []
    mount.start()


def test_a_file_being_copied_up_when_the_daemon_dies_is_whole(bench: Workbench) -> None:
    content = os.urandom(1 << 20) * 32
    mount = bench.mounted({"large": file(content)})
    for turn in range(6):
        worker = os.fork()
        if worker == 0:
            actions.error_of(lambda: actions.write(mount.path + b"/large", b"changed"))
            os._exit(0)
        time.sleep(0.002 * turn)
        mount.kill()
        os.waitpid(worker, 0)
        mount.start()
        assert actions.read(mount.path + b"/large") in (content, b"changed" + content[7:])


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """A file system of 4 MiB for layers."""
    point = place / "small"
    point.mkdir()
    syscalls.mount("small", str(point), "tmpfs", data="size=4m,nr_inodes=100")
    yield point
    syscalls.umount(str(point), syscalls.MNT_DETACH)


def test_a_full_disk_gives_the_right_error_and_is_survived(small: Path, bench: Workbench) -> None:
    base = bench.base({"big": file(b"b" * (3 << 20)), "bigger": file(b"B" * (6 << 20)), "file": file(b"content")})
    mount = bench.mount(base, layer=small / "layer")
    top = mount.path
    assert actions.error_of(lambda: actions.append(top + b"/bigger", b"!")) == "ENOSPC"
    assert os.stat(top + b"/bigger").st_size == 6 << 20
    actions.create(top + b"/fill")
    written = 0
    with actions.opened(top + b"/fill", os.O_WRONLY) as descriptor:
        while not (error := actions.error_of(lambda: os.write(descriptor, b"x" * 65536))):
            written += 65536
    assert error == "ENOSPC"
    assert 2 << 20 < written <= 4 << 20
    assert actions.error_of(lambda: actions.append(top + b"/big", b"!")) == "ENOSPC"
    assert actions.read(top + b"/big") == b"b" * (3 << 20)
    assert actions.read(top + b"/file") == b"content"
    os.unlink(top + b"/fill")
    actions.append(top + b"/big", b"!")
    assert actions.read(top + b"/big") == b"b" * (3 << 20) + b"!"
    mount.remount()
    assert os.stat(top + b"/big").st_size == (3 << 20) + 1
    mount.stop()


def test_no_inodes_left_gives_the_right_error_and_is_survived(small: Path, bench: Workbench) -> None:
    mount = bench.mount(bench.base({"d/file": file(b"content"), "x": file(b"x")}), layer=small / "layer")
    top = mount.path
    made = 0
    while not (error := actions.error_of(functools.partial(actions.create, top + b"/new%d" % made))):
        made += 1
    assert (error, made > 50) == ("ENOSPC", True)
    for call in (
        lambda: os.mkdir(top + b"/made"),
        lambda: os.symlink(b"x", top + b"/symlink"),
        lambda: actions.append(top + b"/d/file", b"!"),
    ):
        assert actions.error_of(call) == "ENOSPC"
    assert sorted(os.listdir(top + b"/d")) == [b"file"]
    assert actions.read(top + b"/d/file") == b"content"
    for number in range(made):
        os.unlink(top + b"/new%d" % number)
    actions.append(top + b"/d/file", b"!")
    assert actions.read(top + b"/d/file") == b"content!"
    mount.stop()


def test_a_daemon_with_few_descriptors_serves_many_files(bench: Workbench) -> None:
    """RLIMIT_NOFILE 256 and thousands of files, hundreds of them open at once, in hundreds of directories."""
    count, held = 3000, 700

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    base = bench.base({f"d{number % 400}/f{number}": file(b"%d" % number) for number in range(count)})
    mount = bench.mount(base, start=False)
    mount.sabotage = few_descriptors
    mount.start()
    descriptors: list[int] = []
    try:
        for number in range(count):
            path = mount.path + b"/d%d/f%d" % (number % 400, number)
            descriptor = os.open(path, os.O_RDWR)
            descriptors.append(descriptor)
            if number % 2:
                os.pwrite(descriptor, b"!", 10)
            if number % 3 == 0:
                os.unlink(path)
            expected = b"%d" % number
            assert os.pread(descriptor, 4, 0) == (expected.ljust(4, b"\0") if number % 2 else expected)
            if len(descriptors) > held:
                os.close(descriptors.pop(0))
        assert os.pread(descriptors[0], 4, 0) == b"%d" % (count - held)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    left = [b"f%d" % number for number in range(0, count, 400) if number % 3]
    assert sorted(os.listdir(mount.path + b"/d0")) == sorted(left)


def test_descriptors_and_memory_come_back(bench: Workbench) -> None:
    mount = bench.mounted({"d/file": file(b"x" * 5000), "empty": directory()})
    top = mount.path

    def round_of_work(turn: int) -> None:
        for number in range(150):
            path = top + b"/empty/%d-%d" % (turn, number)
            actions.create(path, b"content")
            with actions.opened(path, os.O_RDWR) as descriptor:
                os.rename(path, path + b"-moved")
                os.pwrite(descriptor, b"more", 3)
                os.unlink(path + b"-moved")
            os.mkdir(path)
            os.rmdir(path)
        with actions.opened(b"/proc/sys/vm/drop_caches", os.O_WRONLY) as descriptor:
            os.write(descriptor, b"2")

    def usage() -> tuple[int, int]:
        pages = int(Path(f"/proc/{mount.daemon}/statm").read_text().split()[1])
        return len(os.listdir(f"/proc/{mount.daemon}/fd")), pages

    for turn in range(3):
        round_of_work(turn)
    descriptors, memory = usage()
    for turn in range(3, 9):
        round_of_work(turn)
    after_descriptors, after_memory = usage()
    assert after_descriptors <= descriptors + 5
    assert (after_memory - memory) * resource.getpagesize() < 4 << 20


def test_a_base_changed_beneath_its_mount_never_crashes_it(bench: Workbench) -> None:
    """What is then seen is not promised; a clear error or either version, and a daemon that goes on."""
    base = bench.base(
        {"d/a": file(b"a"), "d/b": file(b"b"), "gone/x": file(b"x"), "l1": file(b"l"), "l2": link_to("l1")}
    )
    mount = bench.mount(base)
    bench.bases.pop(base)
    top = mount.path
    assert actions.read(top + b"/d/a") == b"a"
    os.unlink(base / "d/a")
    os.unlink(base / "l1")
    (base / "d/new").write_bytes(b"new")
    (base / "d/b").write_bytes(b"changed below")
    os.unlink(base / "gone/x")
    os.rmdir(base / "gone")
    (base / "gone").write_bytes(b"now a file")
    for call in (
        lambda: actions.read(top + b"/d/a"),
        lambda: actions.append(top + b"/d/a", b"!"),
        lambda: actions.append(top + b"/l1", b"!"),
        lambda: actions.append(top + b"/l2", b"!"),
        lambda: actions.read(top + b"/d/new"),
        lambda: actions.append(top + b"/d/b", b"!"),
        lambda: os.listdir(top + b"/gone"),
        lambda: os.rename(top + b"/gone", top + b"/moved"),
        lambda: actions.create(top + b"/gone/file"),
        lambda: os.listdir(top + b"/d"),
    ):
        assert actions.error_of(call) in ("", "ENOENT", "ESTALE", "EIO", "ENOTDIR", "EEXIST")
    actions.create(top + b"/still-works", b"yes")
    assert actions.read(top + b"/still-works") == b"yes"
