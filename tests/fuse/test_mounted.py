"""What only shows on a mount: nobody waits for another's large file, and which requests the kernel needs at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cowfs.fuse.slow import SlowWork
from cowfs.fuse.statistics import read_statistics
from cowfs.union import data
from cowfs.union.nodes import Nodes
from tests.harness.actions import error_of
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount
from tests.harness.trees import directory, file

pytestmark = pytest.mark.root

LARGE = 384 << 20
SMALL_FILES = 400


def requests(mount: Mount) -> dict[str, int]:
    by_opcode = read_statistics(mount.point).opcodes
    return {name: numbers.count for name, numbers in by_opcode.items()}


def asked(mount: Mount, action: Callable[[], object]) -> dict[str, int]:
    """The requests that an action costs, without what asking for them costs."""
    before = requests(mount)
    action()
    after = requests(mount)
    return {name: count - before.get(name, 0) for name, count in after.items() if name != "GETXATTR"}


@pytest.fixture
def large(bench: Workbench) -> Mount:
    """A mount whose base has one file that takes a while to copy up, and many small ones."""
    names = {f"small/{number:03}": file(b"small") for number in range(SMALL_FILES)}
    base = bench.base({"small": directory(), **names})
    block = os.urandom(1 << 20)
    with open(base / "large", "wb") as content:
        content.writelines(block for _ in range(LARGE >> 20))
    return bench.mount(base)


def test_a_large_copy_up_stalls_nobody(large: Mount) -> None:
    def change() -> float:
        with open(large.point / "large", "r+b") as content:
            content.write(b"changed")
        return time.monotonic()

    started = time.monotonic()
    waits: list[float] = []
    with ThreadPoolExecutor(1) as pool:  # whatever happens, the thread ends with the test
        changed = pool.submit(change)
        for number in range(SMALL_FILES):
            if changed.done():
                break
            before = time.monotonic()
            os.stat(large.point / "small" / f"{number:03}")
            waits.append(time.monotonic() - before)
    copying = changed.result() - started
    assert len(waits) > 20, f"{len(waits)} answers while copying took {copying:.2f} s"
    assert sorted(waits)[len(waits) // 2] < 0.02
    assert max(waits) < max(0.1, copying * 0.8)
    with open(large.point / "large", "rb") as content:
        assert content.read(7) == b"changed"
    assert os.stat(large.point / "large").st_size == LARGE


def test_who_waits_for_a_large_copy_up_can_be_killed(large: Mount) -> None:
    program = "import sys; open(sys.argv[1], 'r+b').write(b'changed')"
    writer = subprocess.Popen([sys.executable, "-c", program, str(large.point / "large")])
    while read_statistics(large.point).slow == 0 and writer.poll() is None:
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    assert writer.wait(60) in (-signal.SIGKILL, 0)
    with open(large.point / "large", "r+b") as content:
        assert len(content.read(1 << 20)) == 1 << 20
        content.seek(0)
        content.write(b"again")
    assert os.stat(large.point / "large").st_size == LARGE


@pytest.mark.direct_only("pyfuse3 must be asked for each open")
def test_opening_reading_again_and_closing_cost_nothing(bench: Workbench) -> None:
    mount = bench.mounted({"d": directory(), "d/f": file(b"x" * 5000), "link": file(b"")})
    path = mount.path + b"/d/f"

    def use() -> None:
        descriptor = os.open(path, os.O_RDONLY)  # open() would ask whether it is a terminal
        os.read(descriptor, 10000)
        os.close(descriptor)
        os.listdir(mount.path + b"/d")

    use()
    use()
    assert not any(asked(mount, use).values())


def test_a_second_look_costs_nothing(bench: Workbench) -> None:
    mount = bench.mounted({"d": directory(), "d/f": file(b"x")})

    def look() -> None:
        os.stat(mount.path + b"/d/f")
        os.path.exists(mount.path + b"/d/missing")

    look()
    assert not any(asked(mount, look).values())


@pytest.mark.direct_only("pyfuse3 does not count these")
def test_a_listing_brings_the_attributes_along(bench: Workbench) -> None:
    mount = bench.mounted({f"f{number}": file(b"x") for number in range(30)})

    def list_long() -> None:
        for name in os.listdir(mount.path):
            os.lstat(os.path.join(mount.path, name))

    cost = asked(mount, list_long)
    assert cost["READDIRPLUS"] == 1
    assert not cost.get("LOOKUP")
    assert not cost.get("GETATTR")


@pytest.mark.direct_only("pyfuse3 cannot mount in stages")
def test_a_user_walking_paths_does_not_ask_for_the_roots_acl_each_time(bench: Workbench) -> None:
    mount = bench.mounted({".": directory(0o755), "d": directory(0o755), "d/f": file(b"x")})
    program = "import os, sys\nfor _ in range(50): os.stat(sys.argv[1])"

    def walk() -> None:
        command = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "/usr/bin/env", "python3"]
        subprocess.run([*command, "-c", program, str(mount.point / "d" / "f")], check=False)

    walk()
    before = requests(mount)
    walk()
    assert requests(mount)["GETXATTR"] - before["GETXATTR"] < 20


@pytest.mark.parametrize("durable", [False, True])
def test_syncing_reaches_the_engine_only_where_it_means_something(bench: Workbench, durable: bool) -> None:
    mount = bench.mount(bench.base({"d": directory(), "f": file(b"x")}), start=False)
    mount.options = ("-o", "allow_other", *(["--sync"] if durable else []))
    mount.start()

    def sync_everything() -> None:
        for name in ("f", "d", "new"):
            flags = os.O_RDWR | os.O_CREAT if name != "d" else os.O_RDONLY
            descriptor = os.open(mount.point / name, flags)
            if name != "d":
                os.write(descriptor, b"changed")
                os.fdatasync(descriptor)
            os.fsync(descriptor)
            os.close(descriptor)

    sync_everything()
    cost = asked(mount, sync_everything)
    assert cost.get("FSYNC", 0) == (4 if durable else 0)
    assert cost.get("FSYNCDIR", 0) == (1 if durable else 0)


@pytest.mark.parametrize("error", ["ENOMEM", "EAGAIN", "EIO"])
def test_a_mount_outlives_failures_to_read_a_request(bench: Workbench, error: str) -> None:
    mount = bench.mounted({"d": directory(), "d/f": file(b"content")})
    inject = f"inject=read,readv,splice:error={error}:when=1+2"
    command = ["strace", "-f", "-o", "/dev/null", "-P", "/dev/fuse", "-e", inject, "-p", str(mount.daemon)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        try:
            for number in range(20):
                assert not os.path.exists(mount.point / "d" / f"missing{number}")
                assert (mount.point / "d" / "f").read_bytes() == b"content"
        finally:
            tracer.send_signal(signal.SIGINT)
    mount.allowed_log = "(?m)^fuse: splice from device: .*"


def broken(*_: object, **__: object) -> bytes:
    raise RuntimeError("planted")


def would_block(*_: object, **__: object) -> bytes:
    raise BlockingIOError(errno.EAGAIN, "")


@pytest.mark.parametrize("read", [broken, would_block], ids=["at-once", "in-a-thread"])
def test_a_mount_outlives_a_defect(bench: Workbench, read: Callable[..., bytes]) -> None:
    def plant() -> None:
        vars(data)["read"] = read
        for owner, name in ((SlowWork, "read"), (SlowWork, "sync"), (Nodes, "forget")):
            setattr(owner, name, broken)

    mount = bench.mount(bench.base({"f": file(b"content")}), start=False)
    mount.options = ("-o", "allow_other", "--sync")
    mount.sabotage = plant
    mount.start()
    mount.allowed_log = r"(?m)^cowfs: \w+ failed unexpectedly: RuntimeError: planted$"
    assert error_of((mount.point / "f").read_bytes) == "EIO"
    descriptor = os.open(mount.point / "f", os.O_RDWR)
    os.write(descriptor, b"changed")
    assert error_of(lambda: os.fsync(descriptor)) == "EIO"
    os.close(descriptor)
    os.unlink(mount.point / "f")
    assert os.listdir(mount.point) == []
