"""The direct engine spoken to without a kernel: the test writes requests into a socket and reads the replies."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from cowfs.fuse.callers import is_being_killed
from cowfs.fuse.device import Device
from cowfs.fuse.direct import dispatch, tasks
from cowfs.fuse.direct.loop import DirectEngine
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.protocol import abi, messages
from cowfs.fuse.protocol.abi import InitFlag
from cowfs.fuse.protocol.opcodes import Opcode
from cowfs.union import data
from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.tree import Tree
from cowfs.union.whiteout import Marks

pytestmark = pytest.mark.root


class Kernel:
    """The other side of the device."""

    def __init__(self, session: DirectEngine, end: socket.socket, loaded: threading.Event | None = None) -> None:
        """`loaded`: trio is not there before that is set."""
        self._end = end
        self._unique = 0
        self._thread = threading.Thread(target=self._serve, args=(session, loaded))
        self._thread.start()

    @staticmethod
    def _serve(session: DirectEngine, loaded: threading.Event | None) -> None:
        if loaded is not None:
            session.serve_beside(partial(loaded.wait, 60))
        trio.run(tasks.run, session)

    def send(self, opcode: int, node: int = 1, body: bytes = b"") -> int:
        self._unique += 2
        header = abi.IN_HEADER.pack(messages.HEADER_SIZE + len(body), opcode, self._unique, node, 0, 0, 0, 0, 0)
        self._end.send(header + body)
        return self._unique

    def receive(self) -> tuple[int, int, bytes]:
        """(unique, errno, body) of the next reply."""
        reply = self._end.recv(1 << 21)
        size, error, unique = abi.OUT_HEADER.unpack_from(reply)
        assert size == len(reply)
        return unique, -error, reply[messages.OUT_HEADER_SIZE :]

    def ask(self, opcode: int, node: int = 1, body: bytes = b"") -> tuple[int, bytes]:
        unique = self.send(opcode, node, body)
        answered, error, reply = self.receive()
        assert answered == unique
        return error, reply

    def init(self, minor: int, flags: int) -> dict[str, int]:
        flags2 = flags >> 32
        body = abi.INIT_IN.pack(7, minor, 131072, flags & 0xFFFFFFFF, flags2, b"")
        error, reply = self.ask(Opcode.INIT, 0, body if minor >= 36 else body[:16])
        assert error == 0
        return dict(zip(abi.INIT_OUT.fields, abi.INIT_OUT.unpack_from(reply), strict=True))

    def lookup(self, name: bytes) -> int:
        error, reply = self.ask(Opcode.LOOKUP, 1, name + b"\0")
        assert error == 0
        return int(abi.ENTRY_OUT.unpack_from(reply)[0])

    def hang_up(self) -> None:
        self._end.close()
        self._thread.join()


@pytest.fixture
def lines() -> list[str]:
    """What --debug would print."""
    return []


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    for name in ("base", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "base" / "file").write_bytes(b"content")
    upper = WritableLayer(os.fsencode(tmp_path / "upper"), os.fsencode(tmp_path / "work"))
    tree = Tree([Layer(os.fsencode(tmp_path / "base"), 0)], upper, Marks(b"trusted"))
    yield tree
    tree.close()


@contextmanager
def served(tree: Tree, lines: list[str], loaded: threading.Event | None = None) -> Iterator[Kernel]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    device = Device(theirs.detach(), Path("/nowhere"))
    kernel = Kernel(DirectEngine(device, tree, EngineSettings(debug=lines.append, io_uring=False)), ours, loaded)
    yield kernel
    kernel.hang_up()
    device.close()


@pytest.fixture
def kernel(tree: Tree, lines: list[str]) -> Iterator[Kernel]:
    with served(tree, lines) as kernel:
        yield kernel


ALL_FLAGS = sum(InitFlag) & ~InitFlag.INIT_RESERVED


@pytest.mark.parametrize("minor", [31, 34, 45, 99])
def test_each_feature_is_taken_where_it_is_offered(kernel: Kernel, minor: int) -> None:
    reply = kernel.init(minor, ALL_FLAGS if minor >= 36 else ALL_FLAGS & (1 << 28) - 1)
    flags = InitFlag(reply["flags"])
    assert reply["minor"] == min(minor, 45)
    assert (reply["max_write"], reply["max_pages"]) == (1 << 20, 256)
    assert InitFlag.PARALLEL_DIROPS in flags
    assert (InitFlag.HANDLE_KILLPRIV_V2 in flags) == (minor >= 36)
    for unwanted in (InitFlag.WRITEBACK_CACHE, InitFlag.AUTO_INVAL_DATA, InitFlag.FLOCK_LOCKS, InitFlag.POSIX_LOCKS):
        assert unwanted not in flags


def test_what_was_negotiated_is_said(kernel: Kernel, lines: list[str]) -> None:
    kernel.init(45, InitFlag.ASYNC_READ)
    assert any("accepted ASYNC_READ; not offered: BIG_WRITES" in line for line in lines)


def test_an_older_protocol_is_refused(kernel: Kernel) -> None:
    assert kernel.ask(Opcode.INIT, 0, abi.OLD_INIT_IN.pack(7, 30, 0, 0)) == (errno.EINVAL, b"")


def test_opens_are_refused_once_and_for_all_where_the_kernel_can_do_without(kernel: Kernel) -> None:
    kernel.init(45, InitFlag.NO_OPEN_SUPPORT | InitFlag.NO_OPENDIR_SUPPORT)
    assert kernel.ask(Opcode.OPEN, 1, abi.OPEN_IN.pack(0, 0))[0] == errno.ENOSYS
    assert kernel.ask(Opcode.OPENDIR, 1, abi.OPEN_IN.pack(0, 0))[0] == errno.ENOSYS


def test_opens_are_answered_where_it_cannot(kernel: Kernel) -> None:
    kernel.init(31, 0)
    error, reply = kernel.ask(Opcode.OPEN, 1, abi.OPEN_IN.pack(0, 0))
    assert (error, abi.OPEN_OUT.unpack_from(reply)[1] & abi.FOPEN_KEEP_CACHE) == (0, abi.FOPEN_KEEP_CACHE)


@pytest.mark.parametrize("opcode", [Opcode.FSYNC, Opcode.FLUSH, Opcode.ACCESS, Opcode.POLL, 63, 64, 4000])
def test_what_is_not_served_is_answered_with_enosys(kernel: Kernel, opcode: int) -> None:
    assert kernel.ask(opcode, 1, bytes(64)) == (errno.ENOSYS, b"")


def test_a_missing_name_may_be_remembered(kernel: Kernel) -> None:
    error, reply = kernel.ask(Opcode.LOOKUP, 1, b"nothing\0")
    assert (error, reply) == (0, messages.NEGATIVE_ENTRY)


def test_a_node_that_was_never_given_out_is_stale(kernel: Kernel) -> None:
    assert kernel.ask(Opcode.GETATTR, 12345, abi.GETATTR_IN.pack(0, 0, 0)) == (errno.ESTALE, b"")


def test_forgetting_gives_memory_back(kernel: Kernel, tree: Tree) -> None:
    empty = len(tree.nodes)
    node = kernel.lookup(b"file")
    kernel.lookup(b"file")
    kernel.send(Opcode.FORGET, node, abi.FORGET_IN.pack(1))
    assert kernel.ask(Opcode.GETATTR, node, abi.GETATTR_IN.pack(0, 0, 0))[0] == 0
    kernel.send(Opcode.BATCH_FORGET, 0, abi.BATCH_FORGET_IN.pack(1, 0) + abi.FORGET_ONE.pack(node, 1))
    assert kernel.ask(Opcode.GETATTR, node, abi.GETATTR_IN.pack(0, 0, 0))[0] == errno.ESTALE
    assert len(tree.nodes) == empty


def test_a_listing_with_attributes_counts_only_what_it_packed(kernel: Kernel, tree: Tree, tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / "base" / f"f{number:02}").touch()
    error, reply = kernel.ask(Opcode.READDIRPLUS, 1, abi.READ_IN.pack(0, 0, 1000, 0, 0, 0, 0))
    assert error == 0
    assert 0 < len(reply) <= 1000
    assert len(tree.nodes) == 1 + len(reply) // (128 + 24 + 8) - 2, "root, and each record but . and .."


def test_a_defect_in_a_handler_is_eio_and_one_line(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lines: list[str]
) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("planted")

    monkeypatch.setattr(data, "read", broken)
    node = kernel.lookup(b"file")
    with caplog.at_level(logging.ERROR):
        assert kernel.ask(Opcode.READ, node, abi.READ_IN.pack(0, 0, 10, 0, 0, 0, 0)) == (errno.EIO, b"")
    assert [record.getMessage() for record in caplog.records] == ["READ failed unexpectedly: RuntimeError: planted"]
    assert any("Traceback" in line for line in lines)
    assert kernel.lookup(b"file") == node, "the session goes on"


def would_block(*_: object, **__: object) -> bytes:
    raise BlockingIOError(errno.EAGAIN, "")


def test_a_slow_read_comes_from_a_thread(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "read", would_block)
    node = kernel.lookup(b"file")
    assert kernel.ask(Opcode.READ, node, abi.READ_IN.pack(0, 3, 100, 0, 0, 0, 0)) == (0, b"tent")


@pytest.fixture
def held(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The number of a request that waits until the end of the test."""
    end = threading.Event()
    original: Callable[..., bytes] = os.pread

    def slow_read(fd: int, size: int, offset: int) -> bytes:
        end.wait(60)
        return original(fd, size, offset)

    node = kernel.lookup(b"file")
    monkeypatch.setattr(data, "read", would_block)
    monkeypatch.setattr(os, "pread", slow_read)
    yield kernel.send(Opcode.READ, node, abi.READ_IN.pack(0, 0, 100, 0, 0, 0, 0))
    end.set()


def test_others_are_served_while_one_waits_and_a_signal_does_not_end_that(kernel: Kernel, held: int) -> None:
    kernel.send(Opcode.INTERRUPT, 0, abi.INTERRUPT_IN.pack(held))
    assert kernel.ask(Opcode.GETATTR, 1, abi.GETATTR_IN.pack(0, 0, 0))[0] == 0


def test_a_killed_caller_is_let_go_with_or_without_an_interruption(
    kernel: Kernel, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over io_uring the kernel may not tell; the answer to what was read for it in the end goes nowhere."""
    monkeypatch.setattr(dispatch, "is_being_killed", lambda _: True)
    assert kernel.receive() == (held, errno.EINTR, b"")
    assert kernel.ask(Opcode.GETATTR, 1, abi.GETATTR_IN.pack(0, 0, 0))[0] == 0


@pytest.mark.parametrize("killed", [False, True])
def test_before_trio_is_loaded_only_what_takes_long_waits(
    tree: Tree, lines: list[str], monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    loaded = threading.Event()
    with served(tree, lines, loaded) as kernel:
        node = kernel.lookup(b"file")
        with monkeypatch.context() as planted:
            planted.setattr(data, "read", would_block)
            reading = kernel.send(Opcode.READ, node, abi.READ_IN.pack(0, 0, 100, 0, 0, 0, 0))
            assert kernel.ask(Opcode.GETATTR, 1, abi.GETATTR_IN.pack(0, 0, 0))[0] == 0
        if killed:
            monkeypatch.setattr(dispatch, "is_being_killed", lambda _: True)
            kernel.send(Opcode.INTERRUPT, 0, abi.INTERRUPT_IN.pack(reading))
            assert kernel.receive() == (reading, errno.EINTR, b"")
        loaded.set()
        if not killed:
            assert kernel.receive() == (reading, 0, b"content")
        assert kernel.ask(Opcode.GETATTR, 1, abi.GETATTR_IN.pack(0, 0, 0))[0] == 0


@pytest.mark.parametrize("thread", [0, 2**31 - 1, os.getpid()], ids=["none", "gone", "own"])
def test_a_caller_of_whom_nothing_is_known_is_not_being_killed(thread: int) -> None:
    assert not is_being_killed(thread)


def test_requests_are_counted(kernel: Kernel) -> None:
    for _ in range(3):
        kernel.ask(Opcode.GETATTR, 1, abi.GETATTR_IN.pack(0, 0, 0))
    name = b"user.cowfs.stats\0"
    error, size = kernel.ask(Opcode.GETXATTR, 1, abi.GETXATTR_IN.pack(0, 0) + name)
    assert error == 0
    assert abi.GETXATTR_OUT.unpack_from(size)[0] > 0
    error, value = kernel.ask(Opcode.GETXATTR, 1, abi.GETXATTR_IN.pack(4096, 0) + name)
    assert b'"GETATTR": {"requests": 3,' in value
    assert kernel.ask(Opcode.GETXATTR, 1, abi.GETXATTR_IN.pack(5, 0) + name)[0] == errno.ERANGE
