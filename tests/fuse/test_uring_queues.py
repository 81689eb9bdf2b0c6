"""FUSE over io_uring: what only queues can do, and what happens where the kernel does not let us."""

from __future__ import annotations

import concurrent.futures
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cowfs import linux
from cowfs.fuse.direct import uring_queues
from cowfs.fuse.direct.uring_queues import PLACES
from cowfs.fuse.protocol import abi
from cowfs.fuse.statistics import read_facts, read_statistics
from setup import io_uring_switch
from tests.harness.actions import opened
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount, MountError
from tests.harness.trees import Description, directory, file

pytestmark = pytest.mark.root

BASE: Description = {"d": directory(), "d/f": file(b"content")}
LARGER_THAN_IS_COPIED_AT_ONCE = 1 << 20


@pytest.fixture
def bench(place: Path) -> Iterator[Workbench]:
    if not io_uring_switch.offered():
        pytest.skip("the kernel has no FUSE over io_uring (Linux 6.14), or it is switched off")
    workbench = Workbench(place, "direct")
    yield workbench
    workbench.close()


def over_io_uring(mount: Mount) -> bool:
    return read_facts(mount.point).io_uring


def pinned(processor: int, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A Python program that runs on one processor."""
    return subprocess.Popen(["taskset", "--cpu-list", str(processor), sys.executable, "-c", program, *arguments])


def test_the_engine_uses_it_unless_told_not_to(bench: Workbench) -> None:
    assert over_io_uring(bench.mount(bench.base(BASE)))
    bench.engine = "device"
    assert not over_io_uring(bench.mount(bench.base(BASE, "other"), name="without"))


def bound(mount: Mount) -> list[int]:
    """The processors to which a thread of the daemon is bound."""
    tasks = [int(task.name) for task in Path(f"/proc/{mount.daemon}/task").iterdir()]
    return sorted(min(one) for one in map(os.sched_getaffinity, tasks) if len(one) == 1)


def test_a_thread_waits_on_each_processor_but_while_it_reads_ahead(bench: Workbench) -> None:
    everywhere = sorted(os.sched_getaffinity(0))
    mount = bench.mounted({"large": file(b"x" * (16 << 20)), "small": file(b"x")})
    assert bound(mount) == everywhere
    look = "import os, sys; os.path.exists(sys.argv[1] + '/missing-' + sys.argv[2])"
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, everywhere[:1])
    with opened(os.fsencode(mount.point / "large")) as descriptor:
        for _ in range(64):
            os.read(descriptor, 128 * 1024)
        assert bound(mount) == everywhere[1:]
    os.sched_setaffinity(0, before)
    for processor in everywhere:
        assert pinned(processor, look, str(mount.point), str(processor)).wait(60) == 0
    assert bound(mount) == everywhere


def test_a_daemon_that_may_run_on_one_processor_serves_callers_on_all(bench: Workbench) -> None:
    first = min(os.sched_getaffinity(0))
    mount = bench.mount(bench.base(BASE), start=False)
    mount.sabotage = lambda: os.sched_setaffinity(0, {first})
    mount.start()
    assert over_io_uring(mount)
    for processor in os.sched_getaffinity(0):
        program = "import sys; assert open(sys.argv[1], 'rb').read() == b'content'; open(sys.argv[2], 'x')"
        caller = pinned(processor, program, str(mount.point / "d" / "f"), str(mount.point / f"made{processor}"))
        assert caller.wait(60) == 0


def test_callers_on_all_processors_at_once(bench: Workbench) -> None:
    """Each reads what it wrote, moves it, and finds nothing else in its directory."""
    mount = bench.mounted(BASE)
    program = """
import os, sys
top = sys.argv[1]
os.mkdir(top)
for number in range(300):
    content = b"%d of %s" % (number, os.fsencode(top)) * 50
    with open(f"{top}/new", "xb") as made:
        made.write(content)
    os.rename(f"{top}/new", f"{top}/old")
    with open(f"{top}/old", "rb") as kept:
        assert kept.read() == content
    assert os.listdir(top) == ["old"], os.listdir(top)
    os.unlink(f"{top}/old")
"""
    callers = [
        pinned(processor, program, str(mount.point / "d" / f"{processor}-{number}"))
        for processor in os.sched_getaffinity(0)
        for number in range(3)
    ]
    assert [caller.wait(60) for caller in callers] == [0] * len(callers)


def test_more_slow_requests_than_places(bench: Workbench) -> None:
    """All from one processor: its queue is full of copy-ups, and each is answered in the end."""
    names = [f"large{number}" for number in range(PLACES * 2 + 3)]
    mount = bench.mounted({name: file(b"x" * LARGER_THAN_IS_COPIED_AT_ONCE) for name in names})
    before = os.sched_getaffinity(0)

    def change(name: str) -> bytes:
        os.sched_setaffinity(0, {min(before)})
        with open(mount.point / name, "r+b") as content:
            content.write(os.fsencode(name))
            content.flush()
            content.seek(0)
            return content.read()

    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        for name, content in zip(names, pool.map(change, names, timeout=60), strict=True):
            assert content == os.fsencode(name).ljust(LARGER_THAN_IS_COPIED_AT_ONCE, b"x")
    assert read_statistics(mount.point).slow >= len(names)


def refuse(*_: object) -> int:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [(linux, "io_uring_setup", refuse), (uring_queues, "_POSSIBLE_PROCESSORS", "/nowhere")],
    ids=["forbidden", "no-sysfs"],
)
def test_where_it_cannot_be_had_it_works_without(bench: Workbench, module: object, name: str, value: object) -> None:
    """As with kernel.io_uring_disabled=2, in a container whose seccomp filter forbids it, in a chroot without /sys."""
    mount = bench.mount(bench.base(BASE), start=False)
    mount.sabotage = replacing(module, name, value)
    mount.start()
    assert not over_io_uring(mount)
    assert (mount.point / "d" / "f").read_bytes() == b"content"


def test_queues_that_the_kernel_refuses_after_all_are_an_error(bench: Workbench) -> None:
    """It would wait for them for ever, and whoever uses the mount with it."""
    mount = bench.mount(bench.base(BASE), start=False)
    mount.sabotage = replacing(abi, "URING_REGISTER", 77)
    mount.allowed_log = "(?s).*"
    with pytest.raises(MountError, match=r"exit code 1.*refuses it \(.*--engine device does"):
        mount.start()
    mount.daemon = 0
    assert not os.path.ismount(mount.point)


def replacing(module: object, name: str, value: object) -> Callable[[], None]:
    return lambda: setattr(module, name, value)
