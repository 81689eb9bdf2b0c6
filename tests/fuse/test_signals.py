"""Signals while a caller waits: one that lives on never sees EINTR, as on a disk, and one that is killed goes at once.

A disk is not slow on demand: the daemon's slow work is held up until the test lets it go on.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cowfs.fuse import slow
from cowfs.fuse.statistics import read_statistics
from cowfs.union import data
from cowfs.union.copyup import CopyUpJob
from tests.harness import syscalls
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount
from tests.harness.trees import file

pytestmark = pytest.mark.root

LARGE = 1 << 20
"""More than is copied up while everybody waits."""
CALLERS = 3
Call = Callable[[Path], object]


def new(path: Path) -> int:
    """A file with something to be synced."""
    descriptor = os.open(path.with_name(f"new-{os.getpid()}"), os.O_RDWR | os.O_CREAT)
    os.write(descriptor, b"changed")
    return descriptor


CALLS: dict[str, Call] = {
    "direct-read": lambda path: syscalls.once("read", os.open(path, os.O_RDONLY | os.O_DIRECT), bytes(4096), 4096),
    "cached-read": lambda path: syscalls.once("read", os.open(path, os.O_RDONLY), bytes(4096), 4096),
    "fsync": lambda path: syscalls.once("fsync", new(path)),
    "fdatasync": lambda path: syscalls.once("fdatasync", new(path)),
    "fsync-directory": lambda path: syscalls.once("fsync", os.open(path.parent, os.O_RDONLY)),
    "first-write": lambda path: syscalls.once("write", os.open(path, os.O_RDWR), b"changed", 7),
    "ftruncate": lambda path: syscalls.once("ftruncate", os.open(path, os.O_RDWR), LARGE - 1),
    "fchmod": lambda path: syscalls.once("fchmod", os.open(path, os.O_RDONLY), 0o600),
    "setxattr": lambda path: os.setxattr(path, "user.name", b"value"),
    "open-truncating": lambda path: os.truncate(path, LARGE // 2),
}


class Held:
    """A mount whose slow work waits for `release`."""

    def __init__(self, bench: Workbench) -> None:
        self._gate = bench.place / "gate"
        self._gate.touch()
        self.mount = bench.mount(bench.base({"large": file(os.urandom(LARGE))}), start=False)
        self.mount.options = ("-o", "allow_other", "--sync")
        self.mount.sabotage = self._hold
        self.mount.start()
        self.path = self.mount.point / "large"

    def release(self) -> None:
        self._gate.unlink(missing_ok=True)

    def _hold(self) -> None:
        def held(work: Callable[..., object]) -> Callable[..., object]:
            def wait_and_work(*arguments: object, **named: object) -> object:
                while self._gate.exists():
                    time.sleep(0.002)
                return work(*arguments, **named)

            return wait_and_work

        def cold(*_: object, **__: object) -> bytes:
            raise BlockingIOError(errno.EAGAIN, "")

        vars(slow)["_read_and_close"] = held(vars(slow)["_read_and_close"])
        vars(slow)["_sync_and_close"] = held(vars(slow)["_sync_and_close"])
        setattr(CopyUpJob, "copy", held(CopyUpJob.copy))  # noqa: B010  a method, which mypy lets nobody assign to
        vars(data)["read"] = cold

    def waiting(self, count: int) -> None:
        """Returns when so many slow requests were begun."""
        until(lambda: int(read_statistics(self.mount.point).slow) >= count)


@pytest.fixture
def held(bench: Workbench) -> Iterator[Held]:
    made = Held(bench)
    yield made
    made.release()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def calling(call: Call, path: Path, *, timer: bool) -> int:
    """A process that makes the call, with a signal each millisecond; its exit code is the call's errno."""
    child = os.fork()
    if child:
        return child
    code = 255
    try:
        syscalls.die_with_parent(signal.SIGKILL)
        signal.signal(signal.SIGALRM, lambda *_: None)  # without SA_RESTART
        if timer:
            signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        call(path)
        code = 0
    except OSError as error:
        code = error.errno or 255
    finally:
        os._exit(code)


def ended(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def result(child: int) -> str:
    """The name of the errno that the call ended with, or of the signal."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return signal.Signals(-code).name if code < 0 else errno.errorcode.get(code, str(code))


@contextmanager
def callers(call: Call, path: Path, count: int = 1, *, timer: bool = True) -> Iterator[list[int]]:
    """Processes that make a call; those that the block leaves over are killed."""
    children = [calling(call, path, timer=timer) for _ in range(count)]
    try:
        yield children
    except BaseException:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        raise


def interrupted(mount: Mount) -> bool:
    return "INTERRUPT" in read_statistics(mount.point).opcodes


@pytest.mark.parametrize("name", CALLS)
def test_who_waits_does_not_see_a_signal(held: Held, engine: str, name: str) -> None:
    with callers(CALLS[name], held.path, CALLERS) as children:
        held.waiting(1)
        # One that comes early is lost over io_uring, and who reads through the page cache does not wait for a request.
        if engine == "device" and name != "cached-read":
            until(lambda: interrupted(held.mount))
        assert not any(map(ended, children))
        held.release()
        assert [result(child) for child in children] == ["0"] * CALLERS


def test_waiting_for_space_is_not_interrupted(bench: Workbench) -> None:
    """An unlinked file that is still open may hold it; here it does not, and the end is what it would be anyway."""
    mount = bench.mount(bench.base({"f": file(b"content"), "g": file(b"content")}), start=False)
    mount.options = ("-o", "allow_other", "--quota", "1M,4")
    mount.start()
    descriptor = os.open(mount.point / "f", os.O_RDWR)
    os.write(descriptor, b"changed")
    os.unlink(mount.point / "f")
    with suppress(OSError):  # until the quota is used up
        for number in range(10):
            (mount.point / f"new{number}").touch()
    with callers(CALLS["setxattr"], mount.point / "g", CALLERS) as children:
        assert [result(child) for child in children] == ["ENOSPC"] * CALLERS
    os.close(descriptor)


KILLED = {
    "at-once": [signal.SIGKILL],
    "politely": [signal.SIGTERM],
    "later": [signal.SIGALRM, signal.SIGKILL],
}


@pytest.mark.direct_only("libfuse does not tell pyfuse3 who waits for a read, a write or a sync")
@pytest.mark.parametrize("signals", KILLED.values(), ids=KILLED.keys())
@pytest.mark.parametrize("name", ["direct-read", "fsync", "first-write"])
def test_who_is_killed_does_not_wait(held: Held, name: str, signals: list[signal.Signals]) -> None:
    with callers(CALLS[name], held.path, timer=False) as [child]:
        held.waiting(1)
        for number in signals:
            os.kill(child, number)
            if number == signal.SIGALRM:
                until(lambda: interrupted(held.mount))
        assert result(child) == signals[-1].name


@pytest.mark.direct_only("libfuse does not tell pyfuse3 who waits for a write")
def test_nothing_is_changed_for_who_was_killed(held: Held) -> None:
    """Its parent, which knows that it is dead, may already have written something else."""
    with callers(CALLS["first-write"], held.path, timer=False) as [child]:
        held.waiting(1)
        os.kill(child, signal.SIGKILL)
        assert result(child) == "SIGKILL"
    held.release()
    descriptor = os.open(held.path, os.O_RDWR)
    os.pwrite(descriptor, b"again", LARGE)
    assert os.pread(descriptor, 7, 0) != b"changed"
    os.close(descriptor)
