"""One file, one identity: inode numbers, device numbers, link counts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import character_device, directory, fifo, file, link_to, make_tree, socket_file, symlink
from tests.harness.trial import Trial

EVERY_KIND = {
    "file": file(b"content"),
    "directory/inside": file(b"inside"),
    "symlink": symlink("file"),
    "fifo": fifo(),
    "socket": socket_file(),
    "device": character_device(1, 3),
}


def _numbers(root: bytes) -> dict[bytes, tuple[int, int]]:
    found = {b".": actions.identity(root)}
    for directory_path, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory_path, name)
            found[os.path.relpath(path, root)] = actions.identity(path)
    return found


@pytest.mark.root
def test_inode_numbers_stay_when_everything_is_copied_up(bench: Workbench) -> None:
    mount = bench.mounted(EVERY_KIND)
    before = _numbers(mount.path)
    for name in before:
        path = os.path.join(mount.path, name)
        os.utime(path, ns=(5, 5), follow_symlinks=False)
        os.chown(path, 7, 7, follow_symlinks=False)
    actions.append(mount.path + b"/file", b"more")
    assert _numbers(mount.path) == before


def test_an_inode_number_stays_when_a_held_file_is_copied_up(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"content")})
    path = mount.path + b"/file"
    with actions.opened(path) as descriptor:
        before = os.fstat(descriptor).st_ino
        actions.append(path, b"more")
        assert os.fstat(descriptor).st_ino == before == os.stat(path).st_ino


def test_inode_numbers_fit_in_32_bits_and_differ(bench: Workbench) -> None:
    mount = bench.mounted(EVERY_KIND)
    for number in range(20):
        actions.create(mount.path + b"/new%d" % number)
    numbers = [number for _, number in _numbers(mount.path).values()]
    assert all(0 < number < 1 << 32 for number in numbers)
    assert len(set(numbers)) == len(numbers)


def test_one_device_number_for_the_whole_tree(bench: Workbench) -> None:
    mount = bench.mounted(EVERY_KIND)
    os.mkdir(mount.path + b"/new")
    assert len({device for device, _ in _numbers(mount.path).values()}) == 1


def test_readdir_tells_the_numbers_and_types_that_stat_tells(bench: Workbench) -> None:
    mount = bench.mounted(EVERY_KIND)
    for changed in (False, True):
        if changed:
            actions.append(mount.path + b"/file", b"more")
            actions.create(mount.path + b"/new")
            os.mkdir(mount.path + b"/directory/sub")
        for top in (mount.path, mount.path + b"/directory"):
            for name, (number, kind) in syscalls.listing(top).items():
                status = os.lstat(os.path.join(top, name))
                if top == mount.path and name == b"..":
                    continue  # the parent lies in the file system around the mount
                assert (name, number) == (name, status.st_ino)
                assert kind == stat.S_IFMT(status.st_mode) >> 12


def test_numbers_stay_when_a_file_is_renamed(bench: Workbench) -> None:
    mount = bench.mounted({"a": file(b"1"), "d/x": file(b"2"), "e": directory()})
    before = {name: os.lstat(os.path.join(mount.path, name)).st_ino for name in (b"a", b"d", b"d/x")}
    os.rename(mount.path + b"/a", mount.path + b"/e/b")
    os.rename(mount.path + b"/d", mount.path + b"/e/d")
    after = {name: os.lstat(os.path.join(mount.path, b"e", name)).st_ino for name in (b"b", b"d", b"d/x")}
    assert list(after.values()) == list(before.values())


def test_two_bases_with_the_same_inode_numbers_stay_apart(bench: Workbench) -> None:
    """Files of different layers, here even of different file systems, may have equal numbers below."""
    lower = bench.base({f"lower{n}": file(b"lower %d" % n) for n in range(30)}, "lower")
    upper = bench.base({f"upper{n}": file(b"upper %d" % n) for n in range(30)}, "upper")
    mount = bench.mount(upper, lower)
    numbers = [number for _, number in _numbers(mount.path).values()]
    assert len(set(numbers)) == len(numbers) == 61
    for n in range(30):
        actions.append(mount.path + b"/lower%d" % n, b"!")
        assert actions.read(mount.path + b"/lower%d" % n) == b"lower %d!" % n
        assert actions.read(mount.path + b"/upper%d" % n) == b"upper %d" % n


LINKED = {
    "one": file(b"shared"),
    "two": link_to("one"),
    "d/three": link_to("one"),
    "alone": file(b"alone"),
}


def test_names_of_one_file_are_one_file(bench: Workbench) -> None:
    mount = bench.mounted(LINKED)
    status = [os.stat(os.path.join(mount.path, name)) for name in (b"d/three", b"one", b"two")]
    assert len({one.st_ino for one in status}) == 1
    assert [one.st_nlink for one in status] == [3, 3, 3]


@pytest.mark.parametrize("name", ["one", "two", "d/three"])
def test_a_write_through_one_name_is_seen_through_all(bench: Workbench, name: str) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("look at another first", actions.read, trial.path("two"))
        trial.attempt("append", actions.append, trial.path(name), b" and changed")
        for other in LINKED:
            trial.attempt(f"read {other}", actions.read, trial.path(other))
            trial.attempt(f"describe {other}", actions.describe, trial.path(other))

    bench.compare(LINKED, operations)


def test_link_counts_do_not_depend_on_what_was_looked_at(bench: Workbench) -> None:
    mount = bench.mounted(LINKED)
    os.unlink(mount.path + b"/two")
    assert os.stat(mount.path + b"/d/three").st_nlink == 2
    mount.remount()
    assert os.stat(mount.path + b"/one").st_nlink == 2
    os.link(mount.path + b"/one", mount.path + b"/four")
    mount.remount()
    assert os.stat(mount.path + b"/d/three").st_nlink == 3
    os.unlink(mount.path + b"/one")
    os.unlink(mount.path + b"/d/three")
    assert os.stat(mount.path + b"/four").st_nlink == 1
    assert actions.read(mount.path + b"/four") == b"shared"


def test_hard_links_of_the_base_survive_every_change_and_remount(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("chmod", os.chmod, trial.path("two"), 0o600)
        trial.attempt("mode", actions.describe, trial.path("one"))
        trial.attempt("rename", os.rename, trial.path("two"), trial.path("d/two"))
        trial.attempt("write", actions.write, trial.path("d/three"), b"S")
        trial.attempt("read", actions.read, trial.path("d/two"))
        trial.attempt("link", os.link, trial.path("one"), trial.path("d/five"))
        trial.attempt("unlink", os.unlink, trial.path("one"))
        trial.attempt("write again", actions.append, trial.path("d/five"), b"!")
        for name in ("d/two", "d/three", "d/five"):
            trial.attempt(f"read {name}", actions.read, trial.path(name))
            trial.attempt(f"describe {name}", actions.describe, trial.path(name))

    mount = bench.compare(LINKED, operations)
    actions.append(mount.path + b"/d/two", b" later")
    assert actions.read(mount.path + b"/d/three") == b"Shared! later"
    mount.remount()
    assert actions.read(mount.path + b"/d/five") == b"Shared! later"
    assert len({os.stat(mount.path + b"/d/" + name).st_ino for name in (b"two", b"three", b"five")}) == 1


def test_one_name_written_then_remounted_then_the_others_written(bench: Workbench) -> None:
    mount = bench.mounted(LINKED)
    actions.write(mount.path + b"/one", b"1")
    mount.remount()
    assert actions.read(mount.path + b"/two") == b"1hared"
    actions.write(mount.path + b"/two", b"22")
    mount.remount()
    assert actions.read(mount.path + b"/d/three") == b"22ared"
    assert os.stat(mount.path + b"/d/three").st_nlink == 3
    actions.write(mount.path + b"/d/three", b"333")
    assert actions.read(mount.path + b"/one") == b"333red"


def test_a_link_of_a_base_file_before_and_after_it_is_changed(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("link", os.link, trial.path("alone"), trial.path("d/more"))
        trial.attempt("write", actions.append, trial.path("alone"), b"!")
        trial.attempt("link after", os.link, trial.path("alone"), trial.path("d/again"))
        trial.attempt("read", actions.read, trial.path("d/more"))
        trial.attempt("describe", actions.describe, trial.path("d/again"))

    bench.compare(LINKED, operations)


@pytest.mark.root
def test_links_of_special_files_and_symlinks(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for name in ("symlink", "fifo", "socket", "device"):
            trial.attempt(
                f"link {name}", os.link, trial.path(name), trial.path(f"directory/{name}"), follow_symlinks=False
            )
            trial.attempt(f"chown {name}", os.chown, trial.path(name), 3, 4, follow_symlinks=False)
            trial.attempt(f"describe {name}", actions.describe, trial.path(f"directory/{name}"))
        trial.attempt("link a directory", os.link, trial.path("directory"), trial.path("other"))

    bench.compare(EVERY_KIND, operations)


def test_a_directory_counts_its_subdirectories_or_does_not_count_at_all(bench: Workbench) -> None:
    """A link count of 1 tells find(1) not to rely on it; anything else must be 2 and the subdirectories."""
    mount = bench.mounted({"d/one/x": file(), "d/two/x": file(), "d/f": file()})
    assert os.stat(mount.path + b"/d").st_nlink in (1, 4)
    os.mkdir(mount.path + b"/d/three")
    assert os.stat(mount.path + b"/d").st_nlink in (1, 5)
    os.rename(mount.path + b"/d/one", mount.path + b"/one")
    assert os.stat(mount.path + b"/d").st_nlink in (1, 4)


def test_inode_numbers_stay_in_later_mounts_of_the_layer(bench: Workbench) -> None:
    mount = bench.mounted(LINKED | {"d/more": file(b"x"), "e": directory()})
    actions.append(mount.path + b"/one", b"!")
    os.rename(mount.path + b"/d", mount.path + b"/e/d")
    actions.create(mount.path + b"/new")
    before = _numbers(mount.path)
    mount.remount()
    assert _numbers(mount.path) == {name: (os.stat(mount.path).st_dev, number) for name, (_, number) in before.items()}


@pytest.mark.root
def test_a_base_with_64_bit_inode_numbers(bench: Workbench, ext4: Path) -> None:
    """With xino overlayfs tells the layer in the upper bits of a number: two files may differ in those alone."""
    one, two = bench.base({f"d/one{n}": file(b"%d" % n) for n in range(20)}, "one"), ext4 / f"two-{bench.place.name}"
    make_tree(str(two), {f"d/two{n}": file(b"%d" % n) for n in range(20)} | {"d/link": link_to("d/two0")})
    base = bench.place / "overlay"
    base.mkdir()
    syscalls.mount("overlay", str(base), "overlay", 0, f"lowerdir={one}:{two},xino=on")
    try:
        large = {os.lstat(os.path.join(base, "d", name)).st_ino for name in os.listdir(base / "d")}
        assert max(large) > 1 << 32
        mount = bench.mount(base)
        numbers = [number for _, number in _numbers(mount.path).values()]
        assert all(0 < number < 1 << 32 for number in numbers)
        assert len(set(numbers)) == len(numbers) - 1  # two names of one file
        for n in range(20):
            actions.append(mount.path + b"/d/one%d" % n, b"!")
        assert sorted(_numbers(mount.path)) == sorted(_numbers(os.fsencode(base)))
        assert [number for _, number in _numbers(mount.path).values()] == numbers
        assert actions.read(mount.path + b"/d/two7") == b"7"
        mount.stop()
        bench.close()
        bench.bases.clear()
        bench.mounts.clear()
    finally:
        syscalls.umount(str(base), syscalls.MNT_DETACH)
