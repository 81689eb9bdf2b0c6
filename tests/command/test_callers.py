"""What a daemon takes from its caller: a umask, descriptors that were given to it; and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from cowfs.fuse.statistics import read_facts
from tests.command.ground import Ground
from tests.harness.command import cowfs_command, is_locked, is_mounted, unmount, wait_until


def _in_a_shell(ground: Ground, script: str, *arguments: str | Path, timeout: float = 60) -> str:
    """What a script prints whose "$@" is the command; it must succeed, and in time."""
    command = ["sh", "-c", script, "sh", *cowfs_command(), *map(str, arguments)]
    environment = {**os.environ, "TMPDIR": str(ground.temporary)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _daemon_of(point: Path) -> int:
    return read_facts(point).process


@pytest.mark.root
def test_a_daemon_keeps_nothing_of_its_caller(ground: Ground, engine: str) -> None:
    elsewhere, lock = ground.point.parent / "elsewhere", ground.point.parent / "lock"
    elsewhere.mkdir()
    script = f"cd {elsewhere} && umask 077 && trap '' HUP INT TERM && (flock 9; \"$@\" 8<{ground.base}) 9>{lock} | cat"
    assert _in_a_shell(ground, script, "--engine", engine, ground.base, ground.point) == ""
    daemon = Path(f"/proc/{_daemon_of(ground.point)}")
    assert not is_locked(lock)
    assert {os.readlink(daemon / f"fd/{number}") for number in range(3)} == {"/dev/null"}
    held = {os.readlink(path) for path in (daemon / "fd").iterdir()}
    assert held.isdisjoint({str(lock), str(elsewhere)})
    assert not any(name.startswith("pipe:") and _is_open_here(name) for name in held)
    assert os.readlink(daemon / "cwd") == "/"
    fields = (daemon / "stat").read_text().rpartition(")")[2].split()
    assert (fields[3], fields[4]) == (daemon.name, "0")  # its own session, without a terminal
    (ground.point / "new").write_bytes(b"")
    assert (ground.point / "new").stat().st_mode & 0o777 == 0o644
    os.kill(int(daemon.name), signal.SIGHUP)
    wait_until(lambda: not is_mounted(ground.point))
    wait_until(lambda: os.listdir(ground.temporary) == [])


def _is_open_here(name: str) -> bool:
    return name in {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()}


@pytest.mark.root
def test_a_base_can_be_a_descriptor_of_the_caller(ground: Ground) -> None:
    _in_a_shell(ground, f'exec 9<{ground.base} && "$@" /dev/fd/9 {ground.point}')
    assert (ground.point / "file").read_bytes() == b"content"
    unmount(ground.point)


@pytest.mark.root
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_do_no_harm(ground: Ground, closed: str) -> None:
    _in_a_shell(ground, f'"$@" {closed}', ground.base, ground.point)
    (ground.point / "new").write_bytes(b"new")
    assert (ground.point / "new").read_bytes() == b"new"
    assert os.readlink(f"/proc/{_daemon_of(ground.point)}/fd/1") == "/dev/null"
    unmount(ground.point)


@pytest.mark.root
def test_in_the_foreground_nohup_is_obeyed(ground: Ground) -> None:
    command = ["sh", "-c", 'trap "" HUP && exec "$@"', "sh", *cowfs_command(), "-f", *map(str, ground[:2])]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(ground.temporary)}) as daemon:
        wait_until(lambda: is_mounted(ground.point) and (ground.point / "file").exists())
        daemon.send_signal(signal.SIGHUP)
        assert (ground.point / "d/inside").read_bytes() == b"inside"
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)
    assert not is_mounted(ground.point)


@pytest.mark.root
def test_a_trace_gets_the_mode_that_its_caller_wants(ground: Ground) -> None:
    trace = ground.point.parent / "trace"
    _in_a_shell(ground, 'umask 027 && "$@"', "--trace", trace, ground.base, ground.point)
    unmount(ground.point)
    wait_until(trace.exists)
    assert trace.stat().st_mode & 0o777 == 0o640
