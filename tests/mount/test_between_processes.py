"""Locks, leases, notifications, FIFOs, sockets, programs being run: what processes use a file system for."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import character_device, directory, fifo, file
from tests.harness.trial import Trial
from tests.harness.users import in_child

F_OFD_SETLK = 37
BASE = {"file": file(b"0123456789"), "d/inside": file(b"inside"), "fifo": fifo(0o666), "empty": directory()}


def _lock(path: bytes, command: int, kind: int, start: int = 0, length: int = 0) -> str:
    """The error of one lock request that does not wait; "" when it was granted."""
    with actions.opened(path, os.O_RDWR) as descriptor:
        request = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)
        return actions.error_of(lambda: fcntl.fcntl(descriptor, command, request))


@pytest.mark.parametrize("first_change", [False, True], ids=["unchanged", "copied up under the lock"])
def test_flock_excludes_other_processes(bench: Workbench, first_change: bool) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/file"

    def try_lock(kind: int) -> str:
        with actions.opened(path) as descriptor:
            return actions.error_of(lambda: fcntl.flock(descriptor, kind | fcntl.LOCK_NB))

    with actions.opened(path) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if first_change:
            actions.append(path, b"!")
        assert in_child(lambda: try_lock(fcntl.LOCK_SH)) == "EAGAIN"
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        assert in_child(lambda: try_lock(fcntl.LOCK_SH)) == ""
        assert in_child(lambda: try_lock(fcntl.LOCK_EX)) == "EAGAIN"
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        assert in_child(lambda: try_lock(fcntl.LOCK_EX)) == ""


@pytest.mark.parametrize("command", [fcntl.F_SETLK, F_OFD_SETLK], ids=["POSIX", "open file description"])
def test_record_locks_exclude_their_range_only(bench: Workbench, command: int) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/file"
    with actions.opened(path, os.O_RDWR) as descriptor:
        fcntl.fcntl(descriptor, command, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 2, 3, 0))
        os.pwrite(descriptor, b"!", 9)  # copies up; closing another descriptor would drop POSIX locks
        assert in_child(lambda: _lock(path, command, fcntl.F_RDLCK, 4, 1)) == "EAGAIN"
        assert in_child(lambda: _lock(path, command, fcntl.F_WRLCK, 5, 10)) == ""
        assert in_child(lambda: _lock(path, command, fcntl.F_WRLCK, 0, 2)) == ""
    assert in_child(lambda: _lock(path, command, fcntl.F_WRLCK)) == ""


def test_a_waiting_lock_is_granted_when_the_holder_dies(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/file"
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        descriptor = os.open(path, os.O_RDWR)
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        os.write(writing, b"x")
        signal.pause()
    os.read(reading, 1)
    os.close(reading)
    os.close(writing)

    def wait_for_lock() -> str:
        with actions.opened(path, os.O_RDWR) as descriptor:
            return actions.error_of(lambda: fcntl.lockf(descriptor, fcntl.LOCK_EX))

    waiter = os.fork()
    if waiter == 0:
        os._exit(0 if wait_for_lock() == "" else 1)
    time.sleep(0.05)
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert os.waitpid(waiter, 0)[1] == 0


def test_a_write_lease_is_refused_or_real(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    with actions.opened(mount.path + b"/file", os.O_RDWR) as descriptor:
        error = actions.error_of(lambda: fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK))
    assert error in ("", "EAGAIN", "EINVAL")


def test_inotify_tells_of_every_change_through_the_mount(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        top = trial.path("d")

        def act() -> None:
            actions.append(top + b"/inside", b"!")
            os.chmod(top + b"/inside", 0o600)
            actions.create(top + b"/new", b"x")
            os.rename(top + b"/new", top + b"/renamed")
            os.unlink(top + b"/renamed")
            os.unlink(top + b"/inside")
            os.mkdir(top + b"/made")

        trial.attempt("events", syscalls.watch, top, act)

    bench.compare(BASE, operations)


@pytest.mark.parametrize("name", ["fifo", "new"])
def test_a_fifo_connects_two_processes(bench: Workbench, name: str) -> None:
    mount = bench.mounted(BASE)
    path = mount.path + b"/" + name.encode()
    if name == "new":
        os.mkfifo(path)
    child = os.fork()
    if child == 0:
        with actions.opened(path, os.O_WRONLY) as descriptor:
            os.write(descriptor, b"through")
        os._exit(0)
    with actions.opened(path) as descriptor:
        assert os.read(descriptor, 100) == b"through"
    os.waitpid(child, 0)
    os.chmod(path, 0o600)
    with actions.opened(path, os.O_RDWR | os.O_NONBLOCK) as descriptor:
        os.write(descriptor, b"still works")
        assert os.read(descriptor, 100) == b"still works"


def test_a_socket_connects_two_processes(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    os.chdir(mount.path)
    try:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("socket")
            server.listen()
            client.connect("socket")
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"hello")
                assert accepted.recv(10) == b"hello"
            os.rename("socket", "d/moved")
            with socket.socket(socket.AF_UNIX) as again:
                again.connect("d/moved")
            with pytest.raises(OSError, match="in use"), socket.socket(socket.AF_UNIX) as second:
                second.bind("d/moved")
    finally:
        os.chdir("/")


@pytest.mark.root
def test_device_nodes_of_the_base_and_new_ones_work(bench: Workbench) -> None:
    mount = bench.mounted({"zero": character_device(1, 5, 0o666), "null": character_device(1, 3, 0o666)})
    os.mknod(mount.path + b"/full", 0o20666, os.makedev(1, 7))
    os.chmod(mount.path + b"/zero", 0o600)
    with actions.opened(mount.path + b"/zero", os.O_RDWR) as descriptor:
        assert os.read(descriptor, 4) == b"\0\0\0\0"
    with actions.opened(mount.path + b"/full", os.O_RDWR) as descriptor:
        assert actions.error_of(lambda: os.write(descriptor, b"x")) == "ENOSPC"
    with actions.opened(mount.path + b"/null", os.O_WRONLY) as descriptor:
        assert os.write(descriptor, b"x" * 1000) == 1000
    mount.stop()
    mount.options = ["-o", "allow_other,nodev"]
    mount.start()
    assert actions.error_of(lambda: actions.append(mount.path + b"/zero", b"x")) == "EACCES"


def test_a_running_program_cannot_be_written_and_a_written_one_not_run(bench: Workbench) -> None:
    base = bench.base({"other": file(b"x", mode=0o755)})
    shutil.copy("/bin/sleep", base / "sleep")
    mount = bench.mount(base)
    program = mount.path + b"/sleep"
    for _ in range(2):  # of the base, then copied up
        with subprocess.Popen([program, "30"]) as running:
            try:
                time.sleep(0.02)
                assert actions.error_of(lambda: os.open(program, os.O_WRONLY)) == "ETXTBSY"
                assert actions.error_of(lambda: os.truncate(program, 0)) == "ETXTBSY"
                os.chmod(program, 0o700)
            finally:
                running.kill()
        with actions.opened(program, os.O_WRONLY):
            assert actions.error_of(lambda: subprocess.run([program, "0"], check=True)) == "ETXTBSY"
        with actions.opened(program, os.O_WRONLY | os.O_APPEND) as descriptor:
            os.write(descriptor, b"\0")
        subprocess.run([program, "0"], check=True)


def test_a_running_program_can_be_replaced_by_rename(bench: Workbench) -> None:
    base = bench.base({"other": file(b"#!/bin/sh\nexit 7\n", mode=0o755)})
    shutil.copy("/bin/sleep", base / "sleep")
    mount = bench.mount(base)
    program = mount.path + b"/sleep"
    with subprocess.Popen([program, "30"]) as running:
        try:
            time.sleep(0.02)
            os.rename(mount.path + b"/other", program)
            assert subprocess.run([program], check=False).returncode == 7
            assert running.poll() is None
        finally:
            running.kill()


def test_many_processes_append_to_one_file_and_nothing_is_lost(bench: Workbench) -> None:
    mount = bench.mounted({"log": file(b"")})
    path = mount.path + b"/log"
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            with actions.opened(path, os.O_WRONLY | os.O_APPEND) as descriptor:
                for line in range(200):
                    os.write(descriptor, b"%d %03d\n" % (number, line))
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    lines = actions.read(path).splitlines()
    assert sorted(lines) == sorted(b"%d %03d" % (number, line) for number in range(4) for line in range(200))


def test_one_name_is_made_by_exactly_one_of_many(bench: Workbench) -> None:
    mount = bench.mounted(BASE)
    for turn in range(10):
        path = mount.path + b"/lock%d" % turn
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                os._exit(0 if actions.error_of(functools.partial(actions.create, path)) == "" else 1)
            children.append(child)
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
        assert codes == [0, 1, 1, 1]
