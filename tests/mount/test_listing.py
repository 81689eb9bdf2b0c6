"""readdir(3): every entry once, whatever happens meanwhile; positions that keep their meaning."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import Entry, directory, file
from tests.harness.trial import Trial

MANY = 1500  # names: some dozens of requests


def _tree(count: int = MANY) -> dict[str, Entry]:
    return {f"d/base-{number:05}": file() for number in range(count)}


def _names(stream: syscalls.DirectoryStream) -> list[bytes]:
    return [name for name, _, _ in stream if name not in (b".", b"..")]


def test_a_merged_directory_lists_every_name_once(bench: Workbench) -> None:
    lower = bench.base({f"d/{number:04}": file() for number in range(1000)}, "lower")
    upper = bench.base({f"d/{number:04}": file() for number in range(500, 1500)}, "upper")
    mount = bench.mount(upper, lower)
    for number in range(1000, 2000):
        actions.replace(mount.path + b"/d/%04d" % number, b"x")
    for number in range(0, 2000, 4):
        os.unlink(mount.path + b"/d/%04d" % number)
    expected = sorted(b"%04d" % number for number in range(2000) if number % 4)
    for _ in range(2):
        stream = syscalls.DirectoryStream(mount.path + b"/d")
        names = [name for name, _, _ in stream]
        stream.close()
        assert sorted(names) == [b".", b"..", *expected]
        mount.remount()


def test_positions_can_be_returned_to(bench: Workbench) -> None:
    mount = bench.mounted(_tree())
    stream = syscalls.DirectoryStream(mount.path + b"/d")
    positions: list[tuple[int, bytes]] = []
    while True:
        position = stream.tell()
        entry = stream.read()
        if entry is None:
            break
        positions.append((position, entry[0]))
    sample = random.Random(4).sample(positions, 40)
    for position, name in [*sample, positions[0], positions[-1]]:
        stream.seek(position)
        entry = stream.read()
        assert entry is not None
        assert entry[0] == name
    stream.rewind()
    assert sorted(_names(stream)) == sorted(name for _, name in positions if name not in (b".", b".."))
    stream.close()


@pytest.mark.parametrize("change", ["unlink", "create", "rename", "copy up"])
def test_every_entry_present_throughout_appears_exactly_once(bench: Workbench, change: str) -> None:
    mount = bench.mounted(_tree())
    top = mount.path + b"/d"
    stream = syscalls.DirectoryStream(top)
    seen = [stream.read() for _ in range(MANY // 3)]
    names = [entry[0] for entry in seen if entry]
    everything = {b"base-%05d" % number for number in range(MANY)}
    touched = {b"base-%05d" % number for number in range(0, MANY, 3)}
    for number, name in enumerate(sorted(touched)):
        if change == "unlink":
            os.unlink(top + b"/" + name)
        elif change == "create":
            actions.create(top + b"/new-%05d" % number)
        elif change == "rename":
            os.rename(top + b"/" + name, top + b"/moved-%05d" % number)
        else:
            actions.append(top + b"/" + name, b"!")
    names += _names(stream)
    stream.close()
    stable = everything - touched if change in ("unlink", "rename") else everything
    listed = [name for name in names if name in stable]
    assert len(names) == len(set(names))
    assert sorted(listed) == sorted(stable)
    assert len(os.listdir(top)) == {"unlink": MANY - len(touched), "create": MANY + len(touched)}.get(change, MANY)


def _replace_by_rename(path: bytes) -> None:
    actions.create(path + b".new")
    os.rename(path + b".new", path)


def _through_a_link(path: bytes) -> None:
    os.link(path, path + b".link")
    os.unlink(path)
    os.rename(path + b".link", path)


def _there_and_back(path: bytes) -> None:
    os.rename(path, os.path.dirname(path) + b"/T")
    os.rename(os.path.dirname(path) + b"/T", path)


def _unlink_and_create(path: bytes) -> None:
    os.unlink(path)
    actions.create(path)


def _as_a_directory(path: bytes) -> None:
    os.unlink(path)
    os.mkdir(path)


GO_AND_COME_BACK = {
    "rename": _there_and_back,
    "create": _unlink_and_create,
    "replace": _replace_by_rename,
    "link": _through_a_link,
    "directory": _as_a_directory,
}


@pytest.mark.parametrize("where", ["base", "layer", "merged"])
def test_a_walk_ends_although_each_name_goes_and_comes_back(bench: Workbench, where: str) -> None:
    count = 200  # with such long names more than one call of getdents
    below = {"layer": 0, "merged": count // 2, "base": count}[where]
    mount = bench.mounted({f"d{way}/{number:0200}": file() for way in GO_AND_COME_BACK for number in range(below)})
    for way, change in GO_AND_COME_BACK.items():
        top = mount.path + b"/d" + way.encode()
        if not below:
            os.mkdir(top)
        for number in range(below, count):
            actions.create(top + b"/%0200d" % number)
        names = [b"%0200d" % number for number in range(count)]  # not read: the kernel would keep the listing
        stream = syscalls.DirectoryStream(top)
        seen: list[bytes] = []
        for name, _, _ in stream:
            if name in (b".", b".."):
                continue
            seen.append(name)
            assert len(seen) <= 2 * len(names), f"{where}, {way}: the walk does not end"
            change(top + b"/" + name)
        assert sorted(set(seen) & set(names)) == names, f"{where}, {way}"
        assert len(set(seen)) == len(seen), f"{where}, {way}"
        stream.rewind()
        assert sorted(_names(stream)) == names
        stream.close()


def test_a_walk_ends_although_many_names_come_back_at_once(bench: Workbench) -> None:
    """More go before the first comes back than a listing remembers."""
    count = 300
    mount = bench.mounted({f"d/{number:0200}": file() for number in range(count)})
    top = mount.path + b"/d"
    stream = syscalls.DirectoryStream(top)
    seen: list[bytes] = []
    while (entry := stream.read()) is not None:
        seen.append(entry[0])
        assert len(seen) <= 2 * count, "the walk does not end"
        if len(seen) % 100 == 0:
            for name in os.listdir(top):
                os.rename(top + b"/" + name, mount.path + b"/" + name)
            for name in os.listdir(mount.path):
                if name != b"d":
                    os.rename(mount.path + b"/" + name, top + b"/" + name)
    stream.close()
    assert len(seen) == len(set(seen))
    assert len(os.listdir(top)) == count


def test_a_position_keeps_its_meaning_while_names_come_back(bench: Workbench) -> None:
    mount = bench.mounted(_tree(300))
    top = mount.path + b"/d"
    stream = syscalls.DirectoryStream(top)
    for _ in range(150):
        stream.read()
    position = stream.tell()
    expected = stream.read()
    assert expected is not None
    for name in os.listdir(top):
        if name != expected[0]:
            _there_and_back(top + b"/" + name)
    stream.seek(position)
    again = stream.read()
    assert again is not None
    assert again[0] == expected[0]
    rest = _names(stream)
    assert len(set(rest)) == len(rest)
    stream.close()


def test_everything_can_be_removed_while_it_is_listed(bench: Workbench) -> None:
    """What `rm -r` does: read some names, remove them, read on."""
    mount = bench.mounted(_tree())
    top = mount.path + b"/d"
    for number in range(300):
        actions.create(top + b"/layer-%05d" % number)
    stream = syscalls.DirectoryStream(top)
    for name, _, _ in stream:
        if name not in (b".", b".."):
            os.unlink(top + b"/" + name)
    stream.close()
    assert os.listdir(top) == []
    os.rmdir(top)


def test_a_listing_after_a_change_tells_the_change(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for turn in range(20):
            trial.attempt(f"{turn} list", lambda: sorted(os.listdir(trial.path("d"))))
            actions.create(trial.path(f"d/new{turn}"))
            trial.attempt(f"{turn} created", lambda: sorted(os.listdir(trial.path("d"))))
            os.rename(trial.path(f"d/new{turn}"), trial.path(f"d/moved{turn}"))
            os.unlink(trial.path(f"d/base-{turn:05}"))
            trial.attempt(f"{turn} removed", lambda: sorted(os.listdir(trial.path("d"))))

    bench.compare(_tree(30), operations)


def test_one_open_directory_rewound_sees_new_names(bench: Workbench) -> None:
    mount = bench.mounted(_tree(20))
    top = mount.path + b"/d"
    stream = syscalls.DirectoryStream(top)
    assert len(_names(stream)) == 20
    actions.create(top + b"/new")
    os.unlink(top + b"/base-00003")
    stream.rewind()
    names = _names(stream)
    stream.close()
    assert (b"new" in names, b"base-00003" in names, len(names)) == (True, False, 20)


def test_two_listings_at_once_do_not_disturb_each_other(bench: Workbench) -> None:
    mount = bench.mounted(_tree())
    one, two = (syscalls.DirectoryStream(mount.path + b"/d") for _ in range(2))
    names: tuple[list[bytes], list[bytes]] = ([], [])
    for _ in range(MANY + 2):
        for stream, found in zip((one, two), names, strict=True):
            entry = stream.read()
            assert entry is not None
            found.append(entry[0])
    assert one.read() is two.read() is None
    assert sorted(names[0]) == sorted(names[1])
    assert len(set(names[0])) == MANY + 2
    one.close()
    two.close()


def test_the_empty_directory_and_its_dots(bench: Workbench) -> None:
    mount = bench.mounted({"d/empty": directory()})
    listed = syscalls.listing(mount.path + b"/d/empty")
    assert sorted(listed) == [b".", b".."]
    assert listed[b"."][0] == os.stat(mount.path + b"/d/empty").st_ino
    assert listed[b".."][0] == os.stat(mount.path + b"/d").st_ino


def test_a_directory_of_20_000_entries_under_concurrent_change(bench: Workbench) -> None:
    """Others create, remove and rename while it is listed again and again; what stays is always there, once."""
    count = 20_000
    base = bench.base({"d": directory()})
    top = os.fsencode(base / "d")
    source = top + b"/f0"
    actions.create(source)
    for number in range(1, count):
        if number % 1000 == 0:
            source = top + b"/f%d" % number
            actions.create(source)
        else:
            os.link(source, top + b"/f%d" % number)
    mount = bench.mount(base)
    top = mount.path + b"/d"
    child = os.fork()
    if child == 0:
        try:
            _disturb(top)
        finally:
            os._exit(0)
    try:
        stable = {b"f%d" % number for number in range(2000, count)}
        deadline = time.monotonic() + 15
        for _ in range(3):
            stream = syscalls.DirectoryStream(top)
            names = _names(stream)
            stream.close()
            assert len(set(names)) == len(names)
            assert stable - set(names) == set()
            if time.monotonic() > deadline:
                break
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert len(os.listdir(top)) >= count - 2000


def _disturb(top: bytes) -> None:
    for number in range(2000):
        actions.create(top + b"/new%d" % number)
        os.unlink(top + b"/f%d" % number)
        if number % 3:
            os.rename(top + b"/new%d" % number, top + b"/newer%d" % number)
