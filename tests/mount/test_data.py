"""File content: offsets, holes, sizes, direct I/O, and what is read after every kind of first change."""

from __future__ import annotations

import errno
import functools
import mmap
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import OLD_NS, file
from tests.harness.trial import Trial
from tests.harness.users import in_child

PAGE = 4096
BIG = bytes(range(256)) * 1200  # a little more than 300 kB: not a whole number of pages or requests
GIB = 1 << 30


def _truncate_open(path: bytes) -> None:
    with actions.opened(path, os.O_RDWR | os.O_TRUNC) as descriptor:
        os.write(descriptor, b"t")


def _chmod_then_write(path: bytes) -> None:
    os.chmod(path, 0o600)
    actions.write(path, b"X", 7)


def _write_shrink_grow(path: bytes) -> None:
    actions.write(path, b"W", 10)
    os.truncate(path, 5)
    os.truncate(path, 9000)


FIRST_CHANGES: dict[str, Callable[[bytes], object]] = {
    "append": lambda path: actions.append(path, b"END"),
    "write at the start": lambda path: actions.write(path, b"START"),
    "write in the middle": lambda path: actions.write(path, b"MIDDLE", 150_001),
    "write across the end": lambda path: actions.write(path, b"ACROSS" * 1000, len(BIG) - 100),
    "write far past the end": lambda path: actions.write(path, b"FAR", len(BIG) + 1_000_000),
    "shrink": lambda path: os.truncate(path, 100_001),
    "grow": lambda path: os.truncate(path, len(BIG) + 12_345),
    "empty": lambda path: os.truncate(path, 0),
    "open with O_TRUNC": _truncate_open,
    "chmod": lambda path: os.chmod(path, 0o600),
    "utime": lambda path: os.utime(path, ns=(1, 1)),
    "setxattr": lambda path: os.setxattr(path, "user.a", b"b"),
    "link": lambda path: os.link(path, path + b"-link"),
    "rename": lambda path: os.rename(path, path + b"-moved"),
    "chmod then write": _chmod_then_write,
    "write then shrink then grow": _write_shrink_grow,
}


@pytest.mark.parametrize("seen", ["not read before", "read before", "held open"])
@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_content_after_every_kind_of_first_change(bench: Workbench, seen: str) -> None:
    names = {f"{number:02}": change for number, change in enumerate(FIRST_CHANGES.values())}

    def operations(trial: Trial) -> None:
        for name, change in names.items():
            path = trial.path(name)
            if seen == "read before":
                actions.read(path)
            descriptor = os.open(path, os.O_RDONLY) if seen == "held open" else None
            trial.note(f"change {name}", actions.error_of(functools.partial(change, path)))
            if descriptor is not None:
                trial.note(f"held {name}", hash(actions.read_all(descriptor)))
                os.close(descriptor)

    bench.compare({name: file(BIG) for name in names}, operations)


def test_holes_stay_holes_through_copy_up(bench: Workbench) -> None:
    base = bench.base({"placeholder": file()})
    with actions.opened(os.fsencode(base / "sparse"), os.O_CREAT | os.O_WRONLY) as descriptor:
        os.pwrite(descriptor, b"start", 0)
        os.pwrite(descriptor, b"middle", 20 << 20)
        os.ftruncate(descriptor, 64 << 20)
    mount = bench.mount(base)
    path = mount.path + b"/sparse"
    assert os.stat(path).st_blocks <= 64
    actions.write(path, b"!", 40 << 20)
    status = os.stat(path)
    assert (status.st_size, status.st_blocks <= 96) == (64 << 20, True)
    with actions.opened(path) as descriptor:
        assert os.pread(descriptor, 5, 0) == b"start"
        assert os.pread(descriptor, 6, 20 << 20) == b"middle"
        assert os.pread(descriptor, 2, (40 << 20) - 1) == b"\0!"
        assert os.pread(descriptor, 10, (64 << 20) - 4) == b"\0\0\0\0"


@pytest.mark.parametrize("offset", [2 * GIB - 2, 4 * GIB - 2, 5 * GIB, 1 << 40])
def test_offsets_beyond_four_gigabytes(bench: Workbench, offset: int) -> None:
    mount = bench.mounted({"file": file(b"small")})
    path = mount.path + b"/file"
    actions.write(path, b"beyond", offset)
    with actions.opened(path) as descriptor:
        assert os.fstat(descriptor).st_size == offset + 6
        assert os.pread(descriptor, 100, offset - 3) == b"\0\0\0beyond"
        assert os.pread(descriptor, 5, 0) == b"small"
    os.truncate(path, offset + 1)
    mount.remount()
    assert os.stat(path).st_size == offset + 1
    with actions.opened(path, os.O_WRONLY | os.O_APPEND) as descriptor:
        os.write(descriptor, b"!")
    with actions.opened(path) as descriptor:
        assert os.pread(descriptor, 10, offset) == b"b!"


def test_large_base_files_are_copied_whole(bench: Workbench) -> None:
    """Large enough that the copy leaves the event loop; changed by two processes at once while it runs."""
    content = os.urandom(1 << 20) * 48
    mount = bench.mounted({"large": file(content), "small": file(b"small")})
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            try:
                actions.write(mount.path + b"/large", b"changed", number * 10_000_000)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert actions.read(mount.path + b"/small") == b"small"
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    expected = bytearray(content)
    for number in range(3):
        expected[number * 10_000_000 : number * 10_000_000 + 7] = b"changed"
    assert actions.read(mount.path + b"/large") == bytes(expected)


@pytest.mark.parametrize("size", [0, 1, PAGE - 1, PAGE, PAGE + 1, 131072, 1048577])
def test_sizes_around_a_page_and_a_request(bench: Workbench, size: int) -> None:
    content = os.urandom(size)

    def operations(trial: Trial) -> None:
        trial.attempt("read", lambda: hash(actions.read(trial.path("file"))))
        trial.attempt("append", actions.append, trial.path("file"), b"x")
        trial.attempt("read again", lambda: hash(actions.read(trial.path("file"))))
        trial.attempt("replace", actions.replace, trial.path("file"), content)
        trial.attempt("copy", actions.create, trial.path("copy"), content)

    bench.compare({"file": file(content)}, operations)


def test_reads_and_writes_at_odd_places(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        with actions.opened(trial.path("file"), os.O_RDWR) as descriptor:
            trial.attempt("read past the end", os.pread, descriptor, 10, 1 << 30)
            trial.attempt("read none", os.pread, descriptor, 0, 0)
            trial.attempt("write none", os.pwrite, descriptor, b"", 1 << 30)
            trial.attempt("size", lambda: os.fstat(descriptor).st_size)
            trial.attempt("seek before the start", os.lseek, descriptor, -1, os.SEEK_SET)
            trial.attempt("seek past the end", os.lseek, descriptor, 1 << 33, os.SEEK_SET)
            trial.attempt("read there", os.read, descriptor, 10)
            trial.attempt("negative size", os.ftruncate, descriptor, -1)
            trial.attempt("vectors", os.pwritev, descriptor, [b"one", b"", b"two"], 4094)
            trial.attempt("vectors read", os.pread, descriptor, 8, 4093)
        with actions.opened(trial.path("file"), os.O_RDONLY) as descriptor:
            trial.attempt("write read-only", os.write, descriptor, b"x")
            trial.attempt("truncate read-only", os.ftruncate, descriptor, 0)
        trial.attempt("truncate a directory", os.truncate, trial.path(), 0)
        trial.attempt("open a directory to write", os.open, trial.path(), os.O_RDWR)
        with actions.opened(trial.path()) as descriptor:
            trial.attempt("read a directory", os.read, descriptor, 10)

    bench.compare({"file": file(BIG)}, operations)


@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_direct_io_agrees_with_the_page_cache(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"a" * 3 * PAGE)})
    path = mount.path + b"/file"
    try:
        direct = os.open(path, os.O_RDWR | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        pytest.skip("no O_DIRECT here, as on many file systems")
    with actions.opened(path) as cached, mmap.mmap(-1, PAGE) as buffer:
        assert os.pread(cached, 2, PAGE) == b"aa"
        buffer[:] = b"b" * PAGE
        assert os.pwritev(direct, [buffer], PAGE) == PAGE
        assert os.pread(cached, 4, PAGE - 2) == b"aabb"
        actions.write(path, b"c" * PAGE)
        assert os.preadv(direct, [buffer], 0) == PAGE
        assert buffer[:2] == b"cc"
        os.close(direct)


@pytest.mark.direct_only
@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_fallocate_allocates_punches_and_zeroes(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        with actions.opened(trial.path("file"), os.O_RDWR) as descriptor:
            for label, mode, offset, length in (
                ("grow", 0, 0, 400_000),
                ("keep size", syscalls.FALLOC_FL_KEEP_SIZE, 0, 1_000_000),
                ("punch", syscalls.FALLOC_FL_PUNCH_HOLE | syscalls.FALLOC_FL_KEEP_SIZE, 8192, 100_000),
                ("punch without keep size", syscalls.FALLOC_FL_PUNCH_HOLE, 0, 10),
                ("no length", 0, 0, 0),
                ("negative", 0, -5, 10),
            ):
                trial.attempt(label, syscalls.fallocate, descriptor, mode, offset, length)
                trial.note(f"{label}: size", os.fstat(descriptor).st_size)
                trial.note(f"{label}: content", hash(actions.read_all(descriptor)))
        with actions.opened(trial.path("file")) as descriptor:
            trial.attempt("read-only", syscalls.fallocate, descriptor, 0, 0, 10)

    bench.compare({"file": file(BIG)}, operations)


@pytest.mark.direct_only
@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_data_and_holes_can_be_sought(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        path = trial.path("sparse")
        with actions.opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
            os.pwrite(descriptor, b"x" * PAGE, 1 << 20)
            os.ftruncate(descriptor, 4 << 20)
            os.fsync(descriptor)
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                for offset in (0, 1 << 20, (1 << 20) + 5, (1 << 20) + PAGE, 4 << 20, 5 << 20):
                    trial.attempt(f"seek {whence} {offset}", os.lseek, descriptor, offset, whence)
        with actions.opened(trial.path("file"), os.O_RDWR) as descriptor:
            trial.attempt("data in a base file", os.lseek, descriptor, 10, os.SEEK_DATA)
            trial.attempt("hole in a base file", os.lseek, descriptor, 10, os.SEEK_HOLE)

    bench.compare({"file": file(BIG)}, operations)


def test_copy_file_range_between_every_pair(bench: Workbench) -> None:
    """Engines without the request leave the copying to the kernel; the result is the same."""

    def operations(trial: Trial) -> None:
        actions.create(trial.path("layer"), b"L" * 20_000)
        for source in ("base", "layer"):
            for target in ("base2", "layer", "new"):
                with (
                    actions.opened(trial.path(source)) as reading,
                    actions.opened(trial.path(target), os.O_RDWR | os.O_CREAT) as writing,
                ):
                    label = f"{source} to {target}"
                    trial.attempt(label, os.copy_file_range, reading, writing, 5000, 100, 17_000)
                    trial.note(f"{label}: content", hash(actions.read_all(writing)))
                    trial.attempt(f"{label}: past the end", os.copy_file_range, reading, writing, 10, 1 << 30, 0)

    bench.compare({"base": file(BIG), "base2": file(b"2" * 9_000)}, operations)


def test_sendfile_and_splice_through_a_mount(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        with (
            actions.opened(trial.path("file")) as reading,
            actions.opened(trial.path("copy"), os.O_RDWR | os.O_CREAT) as writing,
        ):
            total = 0
            while sent := os.sendfile(writing, reading, total, 1 << 20):
                total += sent
            trial.note("sent", total)

    bench.compare({"file": file(BIG)}, operations)


def test_blocks_tell_what_a_file_takes(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(BIG)})
    for changed in (False, True):
        if changed:
            actions.append(mount.path + b"/file", b"!")
        status = os.stat(mount.path + b"/file")
        assert len(BIG) <= status.st_blocks * 512 <= len(BIG) + 3 * PAGE
    actions.create(mount.path + b"/new", b"x" * 100_000)
    assert 100_000 <= os.stat(mount.path + b"/new").st_blocks * 512 <= 120_000


def test_sync_calls_succeed(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(BIG), "d/f": file()})
    with actions.opened(mount.path + b"/file", os.O_RDWR) as descriptor:
        os.write(descriptor, b"x")
        os.fsync(descriptor)
        os.fdatasync(descriptor)
    with actions.opened(mount.path + b"/d", os.O_DIRECTORY) as descriptor:
        os.fsync(descriptor)
    os.sync()


def test_a_full_file_size_limit_gives_the_right_error(bench: Workbench) -> None:
    """RLIMIT_FSIZE of the writer counts, not the daemon's."""
    mount = bench.mounted({"file": file(BIG)})

    def write_too_much() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(BIG) + 10, len(BIG) + 10))
        assert actions.append(mount.path + b"/file", b"x" * 100) == 10
        return actions.error_of(lambda: actions.append(mount.path + b"/file", b"x"))

    assert in_child(write_too_much) == "EFBIG"


def test_many_small_files_keep_their_content(bench: Workbench) -> None:
    description = {f"{number % 7}/{number}": file(b"%d" % number) for number in range(300)}

    def operations(trial: Trial) -> None:
        for number in range(0, 300, 3):
            actions.append(trial.path(f"{number % 7}/{number}"), b"!" * number)
        for number in range(0, 300, 5):
            actions.create(trial.path(f"{number % 7}/new{number}"), b"new" * number)
        for number in range(1, 300, 4):
            os.unlink(trial.path(f"{number % 7}/{number}"))

    bench.compare(description, operations)


def test_a_base_on_one_file_system_and_the_layer_on_another(bench: Workbench, ext4: Path) -> None:
    base = bench.base({"d/file": file(BIG), "other": file(b"x")})
    mount = bench.mount(base, layer=ext4 / f"layer-of-{bench.place.name}")
    actions.append(mount.path + b"/d/file", b"!")
    os.rename(mount.path + b"/d", mount.path + b"/e")
    mount.remount()
    assert actions.read(mount.path + b"/e/file") == BIG + b"!"
    assert os.stat(mount.path + b"/other").st_mtime_ns == OLD_NS
