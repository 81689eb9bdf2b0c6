"""Many processes at once: large copy-ups and slow reads run beside everything else, and nothing gets mixed up."""

from __future__ import annotations

import functools
import mmap
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import Entry, file, link_to
from tests.harness.trial import Trial

LARGE = 3 << 20  # bytes; beyond what is copied up without leaving the event loop
WORKERS = 4


def _in_processes(*tasks: Callable[[], object]) -> None:
    """Run all tasks at once, each in a process of its own; all must succeed."""
    children = []
    for task in tasks:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                task()
                code = 0
            except BaseException as error:  # the parent asserts
                os.write(2, f"{error!r}\n".encode())
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * len(tasks)


def _base() -> dict[str, Entry]:
    described: dict[str, Entry] = {}
    for worker in range(WORKERS):
        for number in range(6):
            described[f"w{worker}/large{number}"] = file(bytes([65 + worker, 97 + number]) * (LARGE // 2))
            described[f"w{worker}/d/small{number}"] = file(b"small %d %d" % (worker, number))
        described[f"w{worker}/d/linked"] = link_to(f"w{worker}/large0")
    return described


def _work(top: bytes, worker: int, turns: int) -> None:
    """Operations of one process in its own directory; the same for the same worker, whatever the others do."""
    randomly = random.Random(worker)
    top += b"/w%d" % worker
    for turn in range(turns):
        names = sorted(
            os.path.join(directory_path, name)
            for directory_path, _, files in os.walk(top)
            for name in files
            if not os.path.islink(os.path.join(directory_path, name))
        )
        path = randomly.choice(names)
        choice = randomly.randrange(10)
        if choice == 0:
            actions.write(path, b"turn %d" % turn, randomly.randrange(LARGE))
        elif choice == 1:
            actions.append(path, b"appended %d" % turn)
        elif choice == 2:
            os.truncate(path, randomly.randrange(LARGE))
        elif choice == 3:
            os.rename(path, top + b"/d/renamed%d" % randomly.randrange(8))
        elif choice == 4:
            actions.error_of(functools.partial(os.link, path, top + b"/link%d" % (turn % 5)))
        elif choice == 5 and len(names) > 6:
            os.unlink(path)
        elif choice == 6:
            os.chmod(path, 0o600 + turn % 64)
        elif choice == 7:
            actions.replace(top + b"/new%d" % (turn % 9), b"new %d" % turn * 1000)
        elif choice == 8 and os.path.getsize(path):
            with actions.opened(path, os.O_RDWR) as descriptor, mmap.mmap(descriptor, 0) as mapping:
                mapping[-1:] = b"m"
        else:
            os.rename(top + b"/d", top + b"/d2")
            os.mkdir(top + b"/d")
            os.rename(top + b"/d2", top + b"/d/d2")
            os.rename(top + b"/d", top + b"/d3")
            os.rename(top + b"/d3/d2", top + b"/d")
            os.rmdir(top + b"/d3")


@pytest.mark.root
@pytest.mark.parametrize("place", ["tmpfs", "ext4"], indirect=True)
def test_processes_do_not_disturb_each_other(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        actions.drop_pages_below(os.fsencode(bench.place / "base"))
        _in_processes(*(functools.partial(_work, trial.root, worker, 120) for worker in range(WORKERS)))

    bench.compare(_base(), operations)


@pytest.mark.root
@pytest.mark.parametrize("place", ["ext4"], indirect=True)
def test_readers_of_a_cold_base_see_what_writers_wrote(bench: Workbench) -> None:
    """Reading pages from a slow disk goes on beside the copy-up and the writes of the same file."""
    count, size = 8, 1 << 20
    mount = bench.mounted({f"f{number}": file(bytes([65 + number]) * size) for number in range(count)})
    actions.drop_pages_below(os.fsencode(mount.base))

    def write(number: int) -> None:
        for step in range(20):
            actions.write(mount.path + b"/f%d" % number, b"#" * 1000, step * 50_000)

    def read(number: int) -> None:
        letter = bytes([65 + number])
        for _ in range(5):
            content = actions.read(mount.path + b"/f%d" % number)
            assert len(content) == size
            assert set(content) <= {letter[0], ord("#")}

    _in_processes(
        *(functools.partial(write, number) for number in range(0, count, 2)),
        *(functools.partial(read, number) for number in range(count)),
    )
    for number in range(0, count, 2):
        content = actions.read(mount.path + b"/f%d" % number)
        assert content.count(b"#") == 20_000
        assert all(content[step * 50_000 : step * 50_000 + 1000] == b"#" * 1000 for step in range(20))


def test_a_large_copy_up_does_not_stop_the_others(bench: Workbench) -> None:
    """While one process waits for a copy of 200 MiB, another's look-ups and writes take no longer than a moment."""
    base = bench.base({"small": file(b"small"), "d/x": file(b"x")})
    with actions.opened(os.fsencode(base / "huge"), os.O_CREAT | os.O_WRONLY) as descriptor:
        for _ in range(200):
            os.write(descriptor, os.urandom(1 << 16) * 16)
    mount = bench.mount(base)
    longest = 0.0
    changer = threading.Thread(target=actions.append, args=(mount.path + b"/huge", b"!"))
    changer.start()
    number = 0
    while changer.is_alive():
        begun = time.monotonic()
        actions.create(mount.path + b"/d/new%d" % number)
        os.listdir(mount.path + b"/d")
        number += 1
        longest = max(longest, time.monotonic() - begun)
    changer.join()
    assert os.stat(mount.path + b"/huge").st_size == (200 << 20) + 1
    assert longest < 0.5


def test_a_large_file_unlinked_or_renamed_while_it_is_copied_up(bench: Workbench) -> None:
    content = os.urandom(1 << 20) * 40
    mount = bench.mounted({name: file(content) for name in ("unlinked", "renamed", "replaced", "truncated")})
    top = mount.path
    held = os.open(top + b"/unlinked", os.O_RDWR)
    writers = [
        threading.Thread(target=os.pwrite, args=(held, b"changed", 5)),
        *(
            threading.Thread(target=actions.write, args=(top + b"/" + name, b"changed", 5))
            for name in (b"renamed", b"replaced", b"truncated")
        ),
    ]
    for writer in writers:
        writer.start()
    time.sleep(0.005)
    os.unlink(top + b"/unlinked")
    os.rename(top + b"/renamed", top + b"/moved")
    actions.create(top + b"/other", b"other")
    syscalls.rename(top + b"/other", top + b"/replaced", syscalls.RENAME_EXCHANGE)
    os.truncate(top + b"/truncated", 3)
    for writer in writers:
        writer.join()
    changed = content[:5] + b"changed" + content[12:]
    assert actions.read_all(held) == changed
    os.close(held)
    assert actions.read(top + b"/moved") == changed
    assert actions.read(top + b"/replaced") == b"other"
    assert actions.read(top + b"/other") == changed
    assert actions.read(top + b"/truncated") in (content[:3], content[:3] + b"\0\0changed")
    mount.remount()
    assert actions.read(top + b"/moved") == changed
    assert sorted(os.listdir(top)) == [b"moved", b"other", b"replaced", b"truncated"]


def test_one_file_changed_first_by_many_at_once(bench: Workbench) -> None:
    content = bytes(LARGE)
    mount = bench.mounted({"file": file(content), "same": link_to("file")})
    _in_processes(
        *(
            functools.partial(
                actions.write,
                mount.path + (b"/file", b"/same")[worker % 2],
                bytes([65 + worker]) * 1000,
                worker * 100_000,
            )
            for worker in range(8)
        )
    )
    expected = bytearray(content)
    for worker in range(8):
        expected[worker * 100_000 : worker * 100_000 + 1000] = bytes([65 + worker]) * 1000
    assert actions.read(mount.path + b"/file") == bytes(expected)
    assert os.stat(mount.path + b"/same").st_nlink == 2


@pytest.mark.root
def test_directories_renamed_and_walked_at_once(bench: Workbench, place: Path) -> None:
    """A walker never meets an error other than a name that has just moved away, and every name exists somewhere."""
    mount = bench.mounted({f"a/b{number}/c/f": file(b"%d" % number) for number in range(30)})
    top = mount.path
    finished = place / "finished"

    def mover() -> None:
        for turn in range(200):
            number = turn % 30
            old, new = (b"a", b"a2") if (turn // 30) % 2 == 0 else (b"a2", b"a")
            os.makedirs(top + b"/" + new, exist_ok=True)
            os.rename(top + b"/%s/b%d" % (old, number), top + b"/%s/b%d" % (new, number))
        finished.touch()

    def walker() -> None:
        while not finished.exists():
            for directory_path, directories, files in os.walk(top):
                for name in directories + files:
                    error = actions.error_of(functools.partial(os.lstat, os.path.join(directory_path, name)))
                    assert error in ("", "ENOENT")

    _in_processes(mover, walker, walker)
    found = [name for _, _, files in os.walk(top) for name in files]
    assert len(found) == 30
    mount.remount()
    contents = [actions.read(directory_path + b"/f") for directory_path, _, files in os.walk(top) if files]
    assert sorted(map(int, contents)) == list(range(30))
