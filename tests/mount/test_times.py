"""Access, modification, change and birth times, to the nanosecond."""

from __future__ import annotations

import mmap
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount
from tests.harness.trees import OLD_NS, Entry, directory, file, link_to, symlink
from tests.harness.trial import CLOCK_TICK_NS, Trial

BASE = {
    "d/file": file(b"content"),
    "d/sub/leaf": file(b"leaf"),
    "d/link": symlink("file"),
    "d/second": link_to("d/file"),
    "other/file": file(b"other"),
    "empty": directory(),
}


def _modified(path: bytes) -> int:
    return os.lstat(path).st_mtime_ns


@pytest.mark.parametrize("name", ["d/file", "d", "d/link", "d/sub/leaf"])
def test_times_are_set_to_the_nanosecond(bench: Workbench, name: str) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/" + name.encode()
    for times in ((1, 2), (1_234_567_890_987_654_321, 999_999_999), (4_300_000_000_000_000_001, 0)):
        os.utime(path, ns=times, follow_symlinks=False)
        status = os.lstat(path)
        assert (status.st_atime_ns, status.st_mtime_ns) == times
    mount.remount()
    assert os.lstat(path).st_mtime_ns == 0


def test_now_and_omit(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/d/file"
    before = time.time_ns() - CLOCK_TICK_NS
    syscalls.set_times(path, (11, 22), (0, syscalls.UTIME_OMIT))
    assert (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) == (11_000_000_022, OLD_NS)
    syscalls.set_times(path, (0, syscalls.UTIME_OMIT), (33, 44))
    assert (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns) == (11_000_000_022, 33_000_000_044)
    syscalls.set_times(path, (0, syscalls.UTIME_OMIT), (0, syscalls.UTIME_NOW))
    assert os.stat(path).st_atime_ns == 11_000_000_022
    assert before <= os.stat(path).st_mtime_ns <= time.time_ns()
    syscalls.set_times(path, (0, syscalls.UTIME_NOW), (5, 5))
    assert before <= os.stat(path).st_atime_ns <= time.time_ns()
    assert actions.error_of(lambda: syscalls.set_times(path, (0, 1_000_000_000), (0, 0))) == "EINVAL"


SECOND = 1_000_000_000
SPECIAL_TIMES = (-1, 0, 1, -SECOND, -SECOND - 1, -(2**31) * SECOND, -(2**31) * SECOND - 1, 2**31 * SECOND - 1,
                 2**31 * SECOND, 15_032_385_535 * SECOND + 999_999_999, 15_032_385_536 * SECOND, 2**33 * SECOND,
                 syscalls.UTIME_NOW, syscalls.UTIME_OMIT)  # fmt: skip
"""The last two are nanoseconds, too, and no more than that; 15032385536 is in 2446, where ext4's times end."""


@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_every_time_is_a_time(bench: Workbench) -> None:
    """None is taken for "now" or "leave it": -1 ns, that is 1969-12-31 23:59:59.999999999, included."""

    def operations(trial: Trial) -> None:
        leave, now = (0, syscalls.UTIME_OMIT), (0, syscalls.UTIME_NOW)
        for name in ("d/file", "d", "d/link", "d/sub/leaf", "."):
            path = trial.path(name)
            for moment in SPECIAL_TIMES:
                pair = divmod(moment, SECOND)
                for label, times in (("both", (pair, pair)), ("mtime", (leave, pair)), ("atime", (pair, leave))):
                    os.utime(path, ns=(5, 7), follow_symlinks=False)
                    trial.attempt(f"{name} {moment} {label}", syscalls.set_times, path, *times, follow=False)
                    status = os.lstat(path)
                    trial.note(f"{name} {moment} {label} set", (status.st_atime_ns, status.st_mtime_ns))
                before = time.time_ns() - CLOCK_TICK_NS
                syscalls.set_times(path, pair, now, follow=False)
                status = os.lstat(path)
                trial.note(f"{name} {moment} with now", (status.st_atime_ns, status.st_mtime_ns >= before))

    bench.compare(BASE, operations)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: os.chmod(path, 0o600), id="chmod"),
        pytest.param(lambda path: os.chown(path, os.geteuid(), os.getegid()), id="chown"),
        pytest.param(lambda path: os.setxattr(path, "user.a", b"1"), id="setxattr"),
        pytest.param(lambda path: os.link(path, path + b"-more"), id="link"),
    ],
)
def test_metadata_changes_keep_mtime_and_move_ctime(bench: Workbench, change: Callable[[bytes], None]) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/d/file"
    before = time.time_ns() - CLOCK_TICK_NS
    change(path)
    assert _modified(path) == OLD_NS
    assert os.stat(path).st_ctime_ns >= before
    mount.remount()
    assert _modified(path) == OLD_NS


def test_copying_up_keeps_the_times_of_the_file_and_of_its_parents(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    os.chmod(mount.path + b"/d/sub/leaf", 0o600)
    os.chown(mount.path + b"/d/link", os.geteuid(), os.getegid(), follow_symlinks=False)
    for _ in range(2):
        for name in (b"", b"/d", b"/d/sub", b"/d/sub/leaf", b"/d/link"):
            assert (name, _modified(mount.path + name)) == (name, OLD_NS)
        mount.remount()


def test_writing_moves_the_files_mtime_alone(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    before = time.time_ns() - CLOCK_TICK_NS
    actions.write(mount.path + b"/d/file", b"C")
    assert _modified(mount.path + b"/d/file") >= before
    assert os.stat(mount.path + b"/d/second").st_mtime_ns >= before
    assert _modified(mount.path + b"/d") == OLD_NS
    assert os.stat(mount.path + b"/d/file").st_atime_ns == OLD_NS


def test_truncation_moves_mtime_also_to_the_same_size_when_opened_so(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    before = time.time_ns() - CLOCK_TICK_NS
    os.truncate(mount.path + b"/d/file", 3)
    assert _modified(mount.path + b"/d/file") >= before
    with actions.opened(mount.path + b"/other/file", os.O_WRONLY | os.O_TRUNC):
        pass
    assert _modified(mount.path + b"/other/file") >= before


def test_a_directorys_mtime_moves_with_every_change_of_its_names_and_no_other(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    top = mount.path + b"/d"
    changes: list[Callable[[], object]] = [
        lambda: actions.create(top + b"/new"),
        lambda: os.unlink(top + b"/new"),
        lambda: os.unlink(top + b"/file"),
        lambda: os.mkdir(top + b"/made"),
        lambda: os.rmdir(top + b"/made"),
        lambda: os.symlink(b"x", top + b"/symlink"),
        lambda: os.mkfifo(top + b"/fifo"),
        lambda: os.link(top + b"/second", top + b"/third"),
        lambda: os.rename(top + b"/third", top + b"/fourth"),
        lambda: os.rename(top + b"/fourth", mount.path + b"/other/fourth"),
        lambda: os.rename(mount.path + b"/other/file", top + b"/second"),
        lambda: os.rename(top + b"/sub", mount.path + b"/empty"),
        lambda: os.rename(mount.path + b"/empty", top + b"/sub"),
    ]
    for number, change in enumerate(changes):
        os.utime(top, ns=(5, 5))
        before = time.time_ns() - CLOCK_TICK_NS
        change()
        status = os.stat(top)
        assert (number, status.st_mtime_ns >= before) == (number, True)
        assert (number, status.st_ctime_ns >= before) == (number, True)
    for change in (
        lambda: actions.create(top + b"/sub/below"),
        lambda: actions.append(top + b"/second", b"!"),
        lambda: os.chmod(top + b"/second", 0o600),
        lambda: os.listdir(top),
        lambda: actions.error_of(lambda: os.mkdir(top + b"/sub")),
        lambda: actions.error_of(lambda: os.unlink(top + b"/missing")),
    ):
        os.utime(top, ns=(5, 5))
        change()
        assert os.stat(top).st_mtime_ns == 5


def test_times_of_a_new_file_are_those_of_its_making(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    before = time.time_ns() - CLOCK_TICK_NS
    actions.create(mount.path + b"/new", b"x")
    os.mkdir(mount.path + b"/new-directory")
    os.symlink(b"x", mount.path + b"/new-link")
    for name in (b"/new", b"/new-directory", b"/new-link"):
        status = os.lstat(mount.path + name)
        for moment in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns):
            assert before <= moment <= time.time_ns()


def _mount_with_old_access_times(bench: Workbench) -> tuple[Path, Mount]:
    """A mounted base whose access times are not newer than its modification times, so that a reader would move them."""
    base = bench.base(BASE)
    mount = bench.mount(base, start=False)
    bench.bases.pop(base)  # watching it has read it, and setting its times back would look like a change
    for name in (".", *BASE, "d", "d/sub"):
        os.utime(base / name, ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    mount.start()
    return base, mount


def test_reading_changes_no_time_of_the_base(bench: Workbench) -> None:
    """Reading through the mount must not write to the base, not even an access time."""
    base, mount = _mount_with_old_access_times(bench)
    for directory_path, _, files in os.walk(mount.path):
        for name in files:
            actions.read(os.path.join(directory_path, name))
    os.chmod(mount.path + b"/other/file", 0o600)
    actions.append(mount.path + b"/d/file", b"!")
    mount.stop()
    names = (".", "d", "d/sub", "d/file", "other/file")
    accessed = {name: os.lstat(base / name).st_atime_ns for name in names}
    mount.start()
    assert accessed == dict.fromkeys(names, OLD_NS)


def test_reading_a_link_does_not_change_the_bases(bench: Workbench) -> None:
    base, mount = _mount_with_old_access_times(bench)
    assert os.readlink(mount.path + b"/d/link") == b"file"
    mount.stop()
    accessed = os.lstat(base / "d/link").st_atime_ns
    mount.start()
    assert accessed == OLD_NS


def test_a_file_written_through_a_mapping_gets_a_new_mtime(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"x" * 4096)})
    path = mount.path + b"/file"
    before = time.time_ns() - CLOCK_TICK_NS
    with actions.opened(path, os.O_RDWR) as descriptor, mmap.mmap(descriptor, 4096) as mapping:
        mapping[0:1] = b"y"
        mapping.flush()
    assert _modified(path) >= before


def test_copying_a_tree_with_its_times_keeps_them(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        subprocess.run(["cp", "-a", os.fsdecode(trial.path("d")), os.fsdecode(trial.path("copy"))], check=True)
        trial.note("time", _modified(trial.path("copy/sub/leaf")))

    bench.compare(BASE, operations)


DEEP_CHANGES: dict[str, Callable[[bytes], object]] = {
    "create": lambda top: actions.create(top + b"/a/b/c/new"),
    "mkdir": lambda top: os.mkdir(top + b"/a/b/c/made"),
    "symlink": lambda top: os.symlink(b"x", top + b"/a/b/c/made"),
    "chmod of a file": lambda top: os.chmod(top + b"/a/b/c/file", 0o600),
    "chmod of a directory": lambda top: os.chmod(top + b"/a/b/c", 0o700),
    "utime of a directory": lambda top: os.utime(top + b"/a/b/c", ns=(OLD_NS, OLD_NS)),
    "xattr of a directory": lambda top: os.setxattr(top + b"/a/b/c", "user.a", b"1"),
    "write": lambda top: actions.append(top + b"/a/b/c/file", b"!"),
    "truncate": lambda top: os.truncate(top + b"/a/b/c/file", 0),
    "unlink": lambda top: os.unlink(top + b"/a/b/c/file"),
    "rmdir": lambda top: os.rmdir(top + b"/a/b/empty"),
    "link": lambda top: os.link(top + b"/a/b/c/file", top + b"/a/b/c/linked"),
    "write to a hard link": lambda top: actions.append(top + b"/a/hard/one", b"!"),
    "rename": lambda top: os.rename(top + b"/a/b/c/file", top + b"/a/b/c/moved"),
    "rename in": lambda top: os.rename(top + b"/other/file", top + b"/a/b/c/moved"),
    "rename of a directory": lambda top: os.rename(top + b"/a/b/c", top + b"/other/moved"),
    "rename over a directory": lambda top: os.rename(top + b"/a/b/c", top + b"/a/b/empty"),
    "replace": lambda top: os.rename(top + b"/other/file", top + b"/a/b/c/file"),
    "chown of a link": lambda top: os.chown(top + b"/a/b/c/link", 5, 5, follow_symlinks=False),
    "two, one below the other": lambda top: os.makedirs(top + b"/a/b/c/new/deeper"),
    "rename from below": lambda top: os.rename(top + b"/a/b/c/file", top + b"/a/b/file"),
}


@pytest.mark.root
@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_a_change_moves_the_times_that_it_moves_on_an_ordinary_file_system(bench: Workbench) -> None:
    """Of the directories above it none, although they are copied up; nor does their size change."""
    description: dict[str, Entry] = {}
    for number in range(len(DEEP_CHANGES)):
        for name in ("a/b/c/file", "a/hard/one", "other/file"):
            description[f"{number}/{name}"] = file(b"content")
        description[f"{number}/a/hard/two"] = link_to(f"{number}/a/hard/one")
        description[f"{number}/a/b/empty"] = directory()
        description[f"{number}/a/b/c/link"] = symlink("file")

    def operations(trial: Trial) -> None:
        for number, (label, change) in enumerate(DEEP_CHANGES.items()):
            top = trial.path(str(number))
            above = [trial.path(), *sorted(path for path, _, _ in os.walk(top))]
            before = {path: (os.lstat(path), syscalls.fresh_times(path)) for path in [*above, top + b"/a/b/c/file"]}
            change(top)
            for path, (status, times) in before.items():
                name = os.path.relpath(path, trial.root)
                if not os.path.lexists(path):
                    continue
                cached = os.lstat(path)
                moved = [old != new for old, new in zip(times, syscalls.fresh_times(path), strict=True)]
                trial.note(f"{label}: ctime and mtime of {name!r} moved", moved)
                trial.note(f"{label}: cached", [cached.st_ctime_ns != times[0], cached.st_mtime_ns != times[1]])
                if not moved[0]:
                    assert (label, name, os.lstat(path).st_size) == (label, name, status.st_size)

    bench.compare(description, operations)


@pytest.mark.root
@pytest.mark.parametrize("label", ["create", "chmod of a file", "unlink", "rename in", "write to a hard link"])
def test_tar_does_not_see_a_directory_change_that_did_not(bench: Workbench, label: str) -> None:
    description = {
        "t/a/b/c/file": file(b"content"),
        "t/a/hard/one": file(),
        "t/a/hard/two": link_to("t/a/hard/one"),
        "t/other/file": file(),
        "t/a/b/empty": directory(),
    }
    for part in (b"", b"/t"):
        mount = bench.mount(bench.base(description, f"base{len(part)}"), name=f"mnt{len(part)}")
        for name in (b"", b"/t", b"/t/a", b"/t/a/b", b"/t/a/b/c", b"/t/a/hard", b"/t/other"):
            os.stat(mount.path + name)  # not listed: the kernel would keep that, and tar not ask again
        DEEP_CHANGES[label](mount.path + b"/t")
        command = ["tar", "-cf", "/dev/zero", "-C", os.fsdecode(mount.path + part), "."]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("noatime", [False, True], ids=["relatime", "noatime"])
def test_only_reading_moves_access_times_and_with_noatime_nothing(bench: Workbench, noatime: bool) -> None:
    mount = bench.mount(bench.base(BASE), start=False)
    mount.options = ("-o", "allow_other,noatime" if noatime else "allow_other")
    mount.start()
    paths = {name: mount.path + b"/" + name for name in (b"d", b"made", b"d/file", b"new")}
    os.mkdir(paths[b"made"])
    actions.create(paths[b"made"] + b"/inside")
    actions.create(paths[b"new"], b"x")
    os.chmod(paths[b"d/file"], 0o600)
    os.chmod(paths[b"d"], 0o700)
    for path in paths.values():
        os.utime(path, ns=(5, 7))
    mount.remount()
    for path in paths.values():
        os.chmod(path, 0o711)
        os.stat(path)
        actions.error_of(lambda path=path: os.rmdir(path))  # type: ignore[misc]
        assert (path, os.stat(path).st_atime_ns) == (path, 5)
    for name, path in paths.items():
        if name in (b"d", b"made"):
            os.listdir(path)
        else:
            actions.read(path)
        moved = os.stat(path).st_atime_ns != 5
        assert (name, moved) == (name, not noatime)
