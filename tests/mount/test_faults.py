"""Accidents: a full or broken disk, too few descriptors, a slow copy-up, a base that changes beneath its mount."""

from __future__ import annotations

import functools
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cowfs.fuse.statistics import read_statistics
from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.command import cowfs_command, served_by
from tests.harness.snapshot import differences, snapshot
from tests.harness.trees import OLD_NS, directory, file, make_tree
from tests.harness.users import in_child

pytestmark = pytest.mark.root

SOAK_ROUNDS = int(os.environ.get("COWFS_TEST_SOAK", "6"))


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


def test_space_is_free_as_soon_as_a_file_is_removed(small: Path, bench: Workbench) -> None:
    """Also where the kernel tells of it a moment after unlink(2) has returned."""
    base = bench.base({f"big{number}": file(b"b" * (1 << 20)) for number in range(20)})
    mount = bench.mount(base, layer=small / "layer")
    top = mount.path
    for number in range(20):
        with actions.opened(top + b"/fill", os.O_WRONLY | os.O_CREAT) as descriptor:
            while not actions.error_of(lambda: os.write(descriptor, b"x" * (1 << 18))):
                pass
        os.unlink(top + b"/fill")
        actions.append(top + b"/big%d" % number, b"!")
        os.unlink(top + b"/big%d" % number)
    mount.stop()


def test_a_full_disk_is_reported_soon_while_an_unlinked_file_is_open(small: Path, bench: Workbench) -> None:
    mount = bench.mount(bench.base({"big": file(b"b" * (1 << 20))}), layer=small / "layer")
    top = mount.path
    with actions.opened(top + b"/fill", os.O_WRONLY | os.O_CREAT) as descriptor:
        os.unlink(top + b"/fill")
        while not (error := actions.error_of(lambda: os.write(descriptor, b"x" * (1 << 18)))):
            pass
        assert error == "ENOSPC"
        assert actions.error_of(lambda: actions.append(top + b"/big", b"!")) == "ENOSPC"
    actions.append(top + b"/big", b"!")
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
    """RLIMIT_NOFILE 256; thousands of files in hundreds of directories, nearly all of them open at once."""
    count, held = 4000, 3500

    def few_descriptors() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    base = bench.base({f"d{number % 400}/f{number}": file(b"%d" % number) for number in range(count)})
    mount = bench.mount(base, start=False)
    mount.sabotage = few_descriptors
    mount.start()

    def open_and_change() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held + 100, held + 100))
        descriptors: list[int] = []
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
        for back, descriptor in enumerate(descriptors):
            number = count - held + back
            assert os.pread(descriptor, 4, 0).rstrip(b"\0") == b"%d" % number

    in_child(open_and_change)
    left = [b"f%d" % number for number in range(0, count, 400) if number % 3]
    assert sorted(os.listdir(mount.path + b"/d0")) == sorted(left)


def test_a_writer_past_its_own_limit_gets_the_signal_and_the_error(bench: Workbench) -> None:
    """RLIMIT_FSIZE is the caller's, setrlimit(2): it never strikes the daemon, which writes for everybody."""
    mount = bench.mounted({"file": file(b"x" * 1000), "large": file(b"y" * 100_000)})

    def limited() -> tuple[list[object], int]:
        caught: list[object] = []
        signals: list[int] = []
        signal.signal(signal.SIGXFSZ, lambda number, _: signals.append(number))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        with actions.opened(mount.path + b"/file", os.O_RDWR) as descriptor:
            caught.append(os.pwrite(descriptor, b"z" * 5000, 1000))  # as much as fits
            caught.append(actions.error_of(lambda: os.pwrite(descriptor, b"z", 4096)))
            caught.append(actions.error_of(lambda: os.ftruncate(descriptor, 5000)))
        caught.append(os.stat(mount.path + b"/file").st_size)
        os.chmod(mount.path + b"/large", 0o600)  # copied up by the daemon, whom no limit binds
        caught.append(actions.error_of(lambda: actions.append(mount.path + b"/large", b"!")))
        return caught, len(signals)

    assert in_child(limited) == ([3096, "EFBIG", "EFBIG", 4096, "EFBIG"], 3)
    assert actions.read(mount.path + b"/large") == b"y" * 100_000


def test_a_base_that_cannot_be_read_gives_io_errors_and_no_half_copies(bench: Workbench) -> None:
    """The base lies on a disk whose end is gone: a loop device over a file that was cut."""
    image, disk = bench.place / "disk.img", bench.place / "disk"
    with image.open("wb") as made:
        made.truncate(24 << 20)
    disk.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        content = os.urandom(12 << 20)
        make_tree(str(disk / "base"), {"bad": file(content)})
        os.sync()
        mount = bench.mount(disk / "base")
        bench.bases.clear()
        actions.drop_pages_below(os.fsencode(disk / "base"))
        os.truncate(image, 4 << 20)
        assert actions.error_of(lambda: actions.read(mount.path + b"/bad")) == "EIO"
        assert actions.error_of(lambda: actions.append(mount.path + b"/bad", b"!")) == "EIO"
        assert mount.layer is not None
        assert os.listdir(mount.layer / "work/staging") == []
        assert os.listdir(mount.layer / "upper") == []
        actions.create(mount.path + b"/good", b"good")
        assert actions.read(mount.path + b"/good") == b"good"
        assert os.stat(mount.path + b"/bad").st_size == len(content)
        with image.open("r+b") as made:
            made.truncate(24 << 20)
        os.truncate(mount.path + b"/bad", 0)  # wants nothing of the content
        mount.stop()
    finally:
        syscalls.umount(str(disk), syscalls.MNT_DETACH)


def test_a_large_copy_up_stops_nobody(bench: Workbench) -> None:
    """One program appends to a file of hundreds of MiB; others are answered again and again before that is done."""
    base = bench.base({"d/other": file(b"other"), "d/another": file(b"another")})
    with (base / "large").open("wb") as large:
        large.truncate(2 << 30)
        block = os.urandom(1 << 20)
        for _ in range(400):
            large.write(block)
    os.utime(base, ns=(OLD_NS, OLD_NS))
    bench.bases[base] = {}  # what an exact look at this much would cost
    mount = bench.mount(base)
    bench.bases.clear()
    worker = os.fork()
    if worker == 0:
        actions.append(mount.path + b"/large", b"!")
        os._exit(0)
    turns = 0
    while os.waitpid(worker, os.WNOHANG)[0] == 0:
        actions.error_of(lambda: os.stat(mount.path + b"/d/missing%d" % turns))  # noqa: B023
        actions.replace(mount.path + b"/d/other", b"changed %d" % turns)
        turns += 1
    assert os.stat(mount.path + b"/large").st_size == (2 << 30) + 1
    assert turns > 5


def test_descriptors_memory_and_nodes_come_back(bench: Workbench) -> None:
    """COWFS_TEST_SOAK=1000 makes an hour of it."""
    mount = bench.mounted(
        {"d/file": file(b"x" * 5000), "empty": directory(), **{f"many/{n}": file() for n in range(200)}}
    )
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
        for name in os.listdir(top + b"/many"):
            os.stat(top + b"/many/" + name)
        mount.forget()

    def usage() -> tuple[int, int, int]:
        time.sleep(0.1)  # what the kernel forgets is left to gather for a moment
        pages = int(Path(f"/proc/{mount.daemon}/statm").read_text().split()[1])
        nodes = read_statistics(mount.point).caches["nodes"]
        return len(os.listdir(f"/proc/{mount.daemon}/fd")), pages * resource.getpagesize(), nodes

    for turn in range(3):
        round_of_work(turn)
    before = usage()
    for turn in range(3, 3 + SOAK_ROUNDS):
        round_of_work(turn)
    descriptors, memory, nodes = usage()
    assert descriptors <= before[0] + 5
    assert memory - before[1] < 4 << 20
    assert nodes <= before[2] + 5


def test_a_second_mount_of_a_layer_is_refused_from_other_namespaces_too(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"content")})
    second = bench.place / "second"
    second.mkdir()
    command = [*cowfs_command(), "-f", "--engine", bench.engine, "--layer", str(mount.layer), mount.base, str(second)]
    for namespaces in ([], ["unshare", "--mount"], ["unshare", "--mount", "--pid", "--fork", "--mount-proc"]):
        done = subprocess.run([*namespaces, *command], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert "mounted already" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    actions.append(mount.path + b"/file", b"!")
    mount.kill()
    mount.start()  # the lock went with its process
    assert actions.read(mount.path + b"/file") == b"content!"


def test_a_mount_that_another_namespace_has_kept_is_named_and_can_be_ended(bench: Workbench) -> None:
    base, point = bench.base({"file": file(b"content")}), bench.place / "kept"
    point.mkdir()
    command = [*cowfs_command(), "--engine", bench.engine, "--layer", str(bench.place / "layer"), str(base), str(point)]
    subprocess.run(command, check=True)
    keep = ("unshare", "--mount", "sh", "-c", "echo ready; exec cat")
    with subprocess.Popen(keep, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "ready\n"
        # Others that were started meanwhile may have copies of it, too.
        subprocess.run(["umount", point], check=True)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        said = re.fullmatch(
            r"cowfs: The layer (\S+) is not mounted here, but still at (\S+) in the mount namespace of process (\d+): "
            r"end that process, or end the daemon for all: kill (\d+)\.\n",
            done.stderr,
        )
        assert said is not None, done.stderr
        assert said[1] == str(bench.place / "layer/upper")
        assert said[2] == str(point)
        assert os.readlink(f"/proc/{said[3]}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
        os.kill(int(said[4]), signal.SIGTERM)
        subprocess.run(command, check=True)
        subprocess.run(["umount", point], check=True)
        keeper.communicate()


MAY_HAPPEN = {"", "ENOENT", "ESTALE", "EIO", "ENOTDIR", "EISDIR", "EEXIST", "EINVAL", "ENOTEMPTY", "ELOOP", "EPERM"}

WAITS_FOR_ITS_OTHER_END = (0, 6)  # of what _use does, for a FIFO


def _use(path: bytes) -> list[Callable[[], object]]:
    return [
        lambda: actions.read(path),
        lambda: os.listdir(path),
        lambda: os.lstat(path + b"/x"),
        lambda: actions.read(path + b"/x"),
        lambda: actions.append(path + b"/y", b"!"),
        lambda: actions.create(path + b"/new", b"new"),
        lambda: actions.append(path, b"!"),
        lambda: os.setxattr(path, "user.a", b"1"),
        lambda: os.chmod(path, 0o700),
        lambda: os.link(path, path + b"-link", follow_symlinks=False),
        lambda: os.rename(path, path + b"-moved"),
        lambda: os.listdir(path + b"-moved"),
        lambda: os.unlink(path + b"-moved"),
        lambda: os.rmdir(path + b"-moved"),
    ]


@pytest.mark.parametrize("looked_before", [False, True], ids=["unseen", "seen"])
def test_a_base_changed_beneath_its_mount_crashes_nothing(bench: Workbench, looked_before: bool) -> None:
    """What is then seen is not promised: an error or either version, a daemon that goes on, and no way out."""
    canary = bench.place / "canary"
    make_tree(str(canary), {"x": file(b"SECRET"), "y": file(b"SECRET")})
    before = snapshot(str(canary), exact=True)
    names = ("file", "dir", "to-file", "to-link", "to-dir", "file-to-link", "to-fifo", "one", "two", "swapped", "other")
    tree = {f"{name}/x": file(b"x" * 300_000) for name in names if not name.startswith("file")}
    tree.update({f"{name}/y": file(b"y") for name in names[1:5]} | {"file": file(b"f"), "file-to-link": file()})
    base = bench.base(tree)
    mount = bench.mount(base)
    bench.bases.clear()
    if looked_before:
        snapshot(mount.path)
        for name in names:
            actions.error_of(lambda: actions.read(mount.path + b"/" + name.encode() + b"/x"))  # noqa: B023
    os.unlink(base / "file")
    os.unlink(base / "file-to-link")
    (base / "file-to-link").symlink_to(canary / "x")
    for name in ("dir", "to-file", "to-link", "to-dir", "to-fifo"):
        shutil.rmtree(base / name)
    (base / "to-file").write_bytes(b"a file now")
    (base / "to-link").symlink_to(canary)
    (base / "to-dir/x").mkdir(parents=True)
    os.mkfifo(base / "to-fifo")
    os.truncate(base / "one/x", 10)
    os.link(base / "two/x", base / "two/z")
    syscalls.rename(os.fsencode(base / "swapped"), os.fsencode(base / "other"), syscalls.RENAME_EXCHANGE)
    (base / "new").mkdir()

    def use_in_a_cage() -> list[tuple[str, int, str]]:
        os.chroot(mount.path)  # so that only the daemon could follow a link to the canary
        outcomes = []
        for name in (*names, "new"):
            for number, attempt in enumerate(_use(b"/" + name.encode())):
                if name != "to-fifo" or number not in WAITS_FOR_ITS_OTHER_END:
                    outcomes.append((name, number, actions.error_of(attempt)))
        return outcomes

    assert [outcome for outcome in in_child(use_in_a_cage) if outcome[2] not in MAY_HAPPEN] == []
    os.listdir(mount.path)
    actions.create(mount.path + b"/still-works", b"yes")
    assert actions.read(mount.path + b"/still-works") == b"yes"
    mount.stop()
    assert differences(before, snapshot(str(canary), exact=True)) == []


@pytest.mark.by_device
def test_a_request_withdrawn_before_it_is_read_does_not_end_the_mount(place: Path, engine: str) -> None:
    """As when its caller is killed: poll(2) saw it, read(2) gives EAGAIN, which strace(1) does every third time."""
    base, point = place / "base", place / "mnt"
    make_tree(str(base), {f"file{number}": file(b"content") for number in range(30)})
    point.mkdir()
    strace = ["strace", "-f", "-qq", "-o", str(place / "strace"), "-P", "/dev/fuse"]
    inject = ["-e", "inject=read,readv:error=EAGAIN:when=8+3"]
    command = [*cowfs_command(), "-f", "--engine", engine, str(base), str(point)]
    with served_by([*strace, *inject, *command], point):
        for number in range(30):
            assert actions.read(os.fsencode(point / f"file{number}")) == b"content"
            actions.append(os.fsencode(point / f"file{number}"), b"!")
    assert (place / "strace").read_text().count("INJECTED") > 20
