"""Descriptors and mappings that outlive a copy-up, a rename, an unlink."""

from __future__ import annotations

import mmap
import os

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount
from tests.harness.trees import directory, file, link_to
from tests.harness.trial import Trial

BASE = {"file": file(b"original content"), "victim": file(b"victim"), "d/inside": file(b"inside"), "empty": directory()}


def test_a_descriptor_opened_before_copy_up_reads_later_writes(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/file"
    with actions.opened(path) as early:
        assert os.pread(early, 8, 0) == b"original"
        actions.write(path, b"ORIGINAL")
        actions.append(path, b" and more")
        assert actions.read_all(early) == b"ORIGINAL content and more"
        assert os.fstat(early).st_size == len(b"ORIGINAL content and more")


def test_a_descriptor_opened_before_copy_up_sees_truncation_and_metadata(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/file"
    with actions.opened(path) as early:
        os.truncate(path, 4)
        os.chmod(path, 0o640)
        assert actions.read_all(early) == b"orig"
        assert os.fstat(early).st_mode & 0o777 == 0o640


def test_a_shared_mapping_made_before_copy_up_sees_later_writes(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"x" * 8192)})
    path = mount.path + b"/file"
    with actions.opened(path) as early, mmap.mmap(early, 8192, mmap.MAP_SHARED, mmap.PROT_READ) as mapping:
        assert mapping[:4] == b"xxxx"
        actions.write(path, b"changed")
        actions.write(path, b"tail", 8188)
        assert mapping[:7] == b"changed"
        assert mapping[-4:] == b"tail"


def test_writes_through_a_mapping_reach_the_file_and_other_descriptors(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"x" * 8192), "other": link_to("file")})
    path = mount.path + b"/file"
    with actions.opened(path) as early, actions.opened(path, os.O_RDWR) as descriptor:
        with mmap.mmap(descriptor, 8192) as mapping:
            mapping[0:6] = b"mapped"
            mapping[4096:4100] = b"page"
            mapping.flush()
            assert os.pread(early, 6, 0) == b"mapped"
    assert actions.read(mount.path + b"/other")[4096:4100] == b"page"
    mount.remount()
    assert actions.read(path) == b"mapped" + b"x" * 4090 + b"page" + b"x" * 4092


def test_a_mapping_written_after_close_and_unlink(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"x" * 4096)})
    path = mount.path + b"/file"
    descriptor = os.open(path, os.O_RDWR)
    mapping = mmap.mmap(descriptor, 4096)
    os.close(descriptor)
    os.unlink(path)
    mapping[0:4] = b"gone"
    mapping.flush()
    assert mapping[0:5] == b"gonex"
    mapping.close()
    assert os.listdir(mount.path) == []


def test_a_private_mapping_never_reaches_the_file(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"x" * 4096)})
    with actions.opened(mount.path + b"/file") as descriptor:
        with mmap.mmap(descriptor, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
            mapping[0:4] = b"mine"
    assert actions.read(mount.path + b"/file") == b"x" * 4096


def test_a_file_that_shrinks_and_grows_under_a_mapping(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"x" * 8192)})
    path = mount.path + b"/file"
    with actions.opened(path, os.O_RDWR) as descriptor, mmap.mmap(descriptor, 8192) as mapping:
        os.truncate(path, 10)
        os.truncate(path, 8192)
        assert mapping[:12] == b"x" * 10 + b"\0\0"
        assert mapping[4096:4100] == b"\0\0\0\0"


@pytest.mark.parametrize("changed_before", [False, True], ids=["base file", "layer file"])
@pytest.mark.parametrize("gone_by", ["unlink", "rename over"])
def test_an_unlinked_open_file_lives_on(bench: Workbench, changed_before: bool, gone_by: str) -> None:
    def operations(trial: Trial) -> None:
        path = trial.path("file")
        if changed_before:
            actions.append(path, b"!")
        with actions.opened(path, os.O_RDWR) as descriptor:
            if gone_by == "unlink":
                trial.attempt("unlink", os.unlink, path)
                trial.attempt("gone", os.lstat, path)
            else:
                trial.attempt("rename over", os.rename, trial.path("victim"), path)
            trial.note("status", actions.describe_status(os.fstat(descriptor)))
            trial.attempt("read", os.pread, descriptor, 100, 0)
            trial.attempt("write", os.pwrite, descriptor, b"written", 3)
            trial.attempt("read back", os.pread, descriptor, 100, 0)
            trial.attempt("truncate", os.ftruncate, descriptor, 5)
            trial.attempt("chmod", os.fchmod, descriptor, 0o601)
            trial.attempt("chown", os.fchown, descriptor, 12, 13)
            trial.attempt("utime", os.utime, descriptor, ns=(7, 9))
            trial.attempt("sync", os.fsync, descriptor)
            trial.attempt("setxattr", os.setxattr, descriptor, "user.a", b"1")
            trial.attempt("getxattr", os.getxattr, descriptor, "user.a")
            status = os.fstat(descriptor)
            trial.note("status after", (*actions.describe_status(status), status.st_mtime_ns))
            trial.attempt("read at last", os.pread, descriptor, 100, 0)
            with actions.opened(b"/proc/self/fd/%d" % descriptor, os.O_RDWR) as again:
                trial.attempt("write re-opened", os.pwrite, again, b"re-opened", 2)
            trial.attempt("read re-opened", os.pread, descriptor, 100, 0)

    bench.compare(BASE, operations)


@pytest.mark.root
@pytest.mark.parametrize("changed_before", [False, True], ids=["base file", "layer file"])
def test_an_unlinked_open_file_cannot_get_a_name_again_as_on_any_file_system(
    bench: Workbench, changed_before: bool
) -> None:
    def operations(trial: Trial) -> None:
        if changed_before:
            actions.append(trial.path("file"), b"!")
        with actions.opened(trial.path("file"), os.O_RDWR) as descriptor:
            trial.attempt("link while named", syscalls.link_descriptor, descriptor, trial.path("second"))
            os.unlink(trial.path("file"))
            os.unlink(trial.path("second"))
            trial.attempt("link", syscalls.link_descriptor, descriptor, trial.path("again"))
            trial.attempt("read", os.pread, descriptor, 100, 0)

    bench.compare(BASE, operations)


def test_an_open_file_with_one_of_two_names_gone(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        with actions.opened(trial.path("one"), os.O_RDWR) as descriptor:
            os.unlink(trial.path("one"))
            trial.note("status", actions.describe_status(os.fstat(descriptor)))
            trial.attempt("write", os.pwrite, descriptor, b"new", 0)
            trial.attempt("read by the other name", actions.read, trial.path("two"))
            os.unlink(trial.path("two"))
            trial.note("status without a name", actions.describe_status(os.fstat(descriptor)))
            trial.attempt("write without a name", os.pwrite, descriptor, b"newer", 0)
            trial.attempt("read", os.pread, descriptor, 100, 0)

    bench.compare({"one": file(b"content"), "two": link_to("one")}, operations)


def test_a_new_file_of_the_same_name_is_another_file(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        path = trial.path("file")
        with actions.opened(path, os.O_RDWR) as old:
            os.unlink(path)
            actions.create(path, b"new")
            trial.attempt("write the old", os.pwrite, old, b"OLD", 0)
            trial.attempt("read the old", os.pread, old, 100, 0)
            trial.attempt("read the new", actions.read, path)
            trial.note("differ", os.fstat(old).st_ino != os.stat(path).st_ino)

    bench.compare(BASE, operations)


@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_hundreds_of_unlinked_open_files_under_memory_pressure(bench: Workbench) -> None:
    count = 400
    mount = bench.mounted({f"{number:04}": file(b"base %d" % number) for number in range(count)})
    descriptors: list[int] = []

    def forget() -> None:
        mount.forget()
        for descriptor in descriptors:
            actions.drop_pages(descriptor)

    try:
        for number in range(count):
            path = mount.path + b"/%04d" % number
            descriptors.append(os.open(path, os.O_RDWR))
            if number % 3 == 0:
                actions.append(path, b"!")
            os.unlink(path)
        forget()
        for number, descriptor in enumerate(descriptors):
            content = b"base %d" % number + (b"!" if number % 3 == 0 else b"")
            assert os.pread(descriptor, 100, 0) == content
            assert os.fstat(descriptor).st_nlink == 0
            os.pwrite(descriptor, b"BASE", 0)
        forget()
        for descriptor in descriptors:
            assert os.pread(descriptor, 4, 0) == b"BASE"
        assert os.listdir(mount.path) == []
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    mount.remount()
    assert os.listdir(mount.path) == []
    _assert_nothing_left_over(mount)


def _assert_nothing_left_over(mount: Mount) -> None:
    """A layer's work directory holds no remains of files that are gone."""
    assert mount.layer is not None
    mount.stop()
    left = [
        os.path.join(directory_path, name)
        for directory_path, _, files in os.walk(mount.layer / "work")
        for name in files
        if os.lstat(os.path.join(directory_path, name)).st_size
    ]
    mount.start()
    assert left == []


def test_a_removed_directory_held_open_is_empty_and_takes_no_new_names(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for name in ("empty", "fresh"):
            if name == "fresh":
                os.mkdir(trial.path(name))
            with actions.opened(trial.path(name), os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                trial.attempt("rmdir", os.rmdir, trial.path(name))
                trial.attempt("create", os.open, "file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor)
                trial.attempt("mkdir", os.mkdir, "sub", dir_fd=descriptor)
                trial.attempt("symlink", os.symlink, "a", "b", dir_fd=descriptor)
                trial.attempt("lookup", os.stat, "file", dir_fd=descriptor)
                trial.attempt("list", os.listdir, descriptor)
                trial.attempt("rename into it", os.rename, trial.path("victim"), "victim", dst_dir_fd=descriptor)
                trial.note("mode", oct(os.fstat(descriptor).st_mode))

    bench.compare(BASE, operations)


def test_a_working_directory_that_is_renamed_stays_the_working_directory(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        with actions.opened(trial.path("d"), os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            os.rename(trial.path("d"), trial.path("empty/moved"))
            trial.attempt("look", os.listdir, descriptor)
            with actions.opened(b"/proc/self/fd/%d/inside" % descriptor, os.O_RDWR) as inside:
                trial.attempt("write", os.write, inside, b"INSIDE")
            trial.attempt("read", actions.read, trial.path("empty/moved/inside"))
            os.mkdir("new", dir_fd=descriptor)
            trial.attempt("parent", lambda: sorted(os.listdir(b"/proc/self/fd/%d/.." % descriptor)))

    bench.compare(BASE, operations)


def test_a_file_open_for_append_by_two_writers(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        flags = os.O_WRONLY | os.O_APPEND
        with actions.opened(trial.path("file"), flags) as one, actions.opened(trial.path("file"), flags) as two:
            for number in range(10):
                os.write(one, b"1-%d," % number)
                os.write(two, b"2-%d," % number)
            trial.note("position", os.lseek(one, 0, os.SEEK_CUR))

    bench.compare(BASE, operations)


def test_opening_for_writing_copies_nothing(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    assert mount.layer is not None
    with actions.opened(mount.path + b"/d/inside", os.O_RDWR) as descriptor:
        os.read(descriptor, 10)
    copies = [files for directory_path, _, files in os.walk(mount.layer / "upper") if files]
    assert copies == []


def test_opening_with_truncation_and_with_exclusion(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        exclusive = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        trial.attempt("exclusive on a base file", os.open, trial.path("file"), exclusive)
        trial.attempt("exclusive on a directory", os.open, trial.path("d"), exclusive)
        trial.attempt("create on a directory", os.open, trial.path("d"), os.O_CREAT | os.O_WRONLY)
        trial.attempt("as a directory", os.open, trial.path("file"), os.O_DIRECTORY)
        with actions.opened(trial.path("victim"), os.O_RDONLY) as early:
            with actions.opened(trial.path("victim"), os.O_WRONLY | os.O_TRUNC):
                trial.note("size", os.fstat(early).st_size)
            trial.attempt("read", os.read, early, 10)
        os.unlink(trial.path("file"))
        with actions.opened(trial.path("file"), exclusive, 0o600) as descriptor:
            trial.attempt("write", os.write, descriptor, b"recreated")
            trial.attempt("read write-only", os.read, descriptor, 1)

    bench.compare(BASE, operations)
