"""How a mount ends: as its user wants it, or because its daemon died."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.command.ground import Ground, refused
from tests.harness import actions, syscalls
from tests.harness.command import cowfs, cowfs_command, is_mounted, unmount, wait_until


@pytest.mark.root
@pytest.mark.parametrize("way", ["SIGINT", "SIGTERM", "umount", "cowfs umount", "fusermount3", "umount -l"])
def test_every_way_to_end_it_is_clean(ground: Ground, way: str) -> None:
    environment = {**os.environ, "TMPDIR": str(ground.temporary), "PYTHONFAULTHANDLER": "1"}
    command = [*cowfs_command(), "-f", str(ground.base), str(ground.point)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        try:
            wait_until(lambda: is_mounted(ground.point) and (ground.point / "file").exists())
            (ground.point / "file").write_bytes(b"changed")
            if way.startswith("SIG"):
                daemon.send_signal(getattr(signal, way))
            elif way == "cowfs umount":
                assert cowfs("umount", ground.point).returncode == 0
            elif way == "fusermount3":
                subprocess.run(["fusermount3", "-u", str(ground.point)], check=True)
            else:
                subprocess.run([*way.split(), str(ground.point)], check=True)
            try:
                output, errors = daemon.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                daemon.send_signal(signal.SIGABRT)  # faulthandler then tells where it hangs
                pytest.fail(daemon.communicate()[1].decode())
        finally:
            daemon.kill()
    assert (output, errors) == (b"", b"")
    assert daemon.returncode in ((0,) if not way.startswith("SIG") else (0, 130, 143))
    assert not is_mounted(ground.point)
    assert os.listdir(ground.temporary) == []


@pytest.mark.root
def test_a_busy_mount_is_not_torn_away_by_umount(ground: Ground) -> None:
    assert ground.run(ground.base, ground.point).returncode == 0
    with actions.opened(os.fsencode(ground.point / "file")) as descriptor:
        refused(cowfs("umount", ground.point), "busy|in use")
        assert os.pread(descriptor, 10, 0) == b"content"
    assert cowfs("umount", ground.point).returncode == 0


@pytest.mark.root
def test_a_dead_mount_is_named_and_cleared_by_one_command(ground: Ground) -> None:
    with subprocess.Popen([*cowfs_command(), "-f", "--layer", ground.layer, ground.base, ground.point]) as daemon:
        wait_until(lambda: is_mounted(ground.point) and (ground.point / "file").exists())
        (ground.point / "kept").write_bytes(b"kept")
        daemon.kill()
    with pytest.raises(OSError, match=r"not connected|abort|cancel"):
        os.stat(ground.point / "kept")
    refused(ground.run(ground.base, ground.point), str(ground.point), "dead|not connected|gone")
    done = cowfs("umount", ground.point)
    assert done.returncode == 0
    assert not is_mounted(ground.point)
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    assert (ground.point / "kept").read_bytes() == b"kept"
    unmount(ground.point)


@pytest.mark.root
def test_a_temporary_layer_of_a_killed_daemon_is_removed_by_the_next(ground: Ground) -> None:
    environment = {**os.environ, "TMPDIR": str(ground.temporary)}
    with subprocess.Popen([*cowfs_command(), "-f", ground.base, ground.point], env=environment) as daemon:
        wait_until(lambda: is_mounted(ground.point) and len(os.listdir(ground.temporary)) == 1)
        daemon.kill()
    syscalls.umount(str(ground.point), syscalls.MNT_DETACH)
    assert len(os.listdir(ground.temporary)) == 1
    assert ground.run(ground.base, ground.point).returncode == 0
    assert len(os.listdir(ground.temporary)) == 1
    unmount(ground.point)
    wait_until(lambda: os.listdir(ground.temporary) == [])
