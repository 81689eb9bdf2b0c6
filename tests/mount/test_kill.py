"""A daemon killed at any moment, or the whole machine: what was acknowledged is there, nothing is half there."""

from __future__ import annotations

import filecmp
import itertools
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import actions, kill, syscalls
from tests.harness.bench import Workbench
from tests.harness.command import cowfs
from tests.harness.mounts import Mount, MountError
from tests.harness.snapshot import differences, snapshot
from tests.harness.trees import file
from tests.harness.trial import CLOCK_TICK_NS

pytestmark = pytest.mark.root

KILLS = int(os.environ.get("COWFS_TEST_KILLS", "24"))
SEED = int(os.environ.get("COWFS_TEST_SEED", "1"))
CUTS = int(os.environ.get("COWFS_TEST_POWER_CUTS", "3"))


def _left_in_work(layer: Path) -> list[str]:
    return [f"{place}/{name}" for place in ("staging", "orphans") for name in os.listdir(layer / "work" / place)]


def _mount_and_kill(mount: Mount, seed: int) -> list[str]:
    """Work in the mount until its daemon dies; the outcomes of what it answered."""
    randomly = random.Random(seed)
    way = ("at a time", "before a change", "at the end")[seed % 3]
    if way == "before a change":
        mount.sabotage = kill.die_before_change(randomly.randrange(1, 250))
    elif way == "at the end":
        mount.sabotage = kill.die_at_the_end(randomly.randrange(1, 20))
    try:
        mount.start()
    except MountError:
        mount.kill()
        return []  # dead before it was usable
    finally:
        mount.sabotage = None
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(reading)
        count = 100 if way == "at the end" else 100_000
        try:
            kill.work(mount.path, itertools.islice(kill.random_operations(seed), count), writing)
        finally:
            os._exit(0)
    os.close(writing)
    if way == "at a time":
        time.sleep(randomly.random() * 0.1)
        os.kill(mount.daemon, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode().splitlines()
    os.waitpid(worker, 0)
    if way == "at the end":
        assert mount.stop() in (0, -signal.SIGKILL)
    mount.kill()
    return said


def _only_touched(differing: list[str], plain: Path) -> bool:
    """Whether the daemon died when it had copied up into a directory and not yet given that its time back.

    docs/limits.md names it. The plain tree's directory then gets its time, too.
    """
    touched = re.compile(r"(?P<name>.+): mtime: .* -> 'now'")
    found = [touched.fullmatch(line) for line in differing]
    names = [match["name"] for match in found if match is not None and (plain / match["name"]).is_dir()]
    for name in names:
        os.utime(plain / name)
    return len(names) == len(differing) == 1


def test_a_killed_daemon_loses_nothing_and_leaves_nothing_half_done(bench: Workbench) -> None:
    """The tree is what an ordinary directory is after the acknowledged operations, or after one more."""
    now = time.time_ns() - CLOCK_TICK_NS
    base = bench.base(kill.BASE)
    plain = bench.place / "plain"
    subprocess.run(["cp", "-a", str(base), str(plain)], check=True)
    mount = bench.mount(base, start=False)
    assert mount.layer is not None
    acknowledged = 0
    for seed in range(SEED, SEED + KILLS):
        said = _mount_and_kill(mount, seed)
        acknowledged += len(said)
        operations = list(itertools.islice(kill.random_operations(seed), len(said) + 1))
        expected = [kill.outcome(operation, os.fsencode(plain)) for operation in operations[:-1]]
        assert said == expected, f"seed {seed}"
        mount.start()
        assert _left_in_work(mount.layer) == [], f"seed {seed}"
        tree = snapshot(mount.path, now=now)
        before = differences(snapshot(str(plain), now=now), tree)
        if before and _only_touched(before, plain):
            before = differences(snapshot(str(plain), now=now), tree)
        if before:
            kill.outcome(operations[-1], os.fsencode(plain))
            after = differences(snapshot(str(plain), now=now), tree)
            assert not after, (
                f"seed {seed}, {len(said)} operations; neither before the last\n{before}\nnor after\n{after}"
            )
        mount.stop()
    assert acknowledged > 10 * KILLS


def test_a_file_being_copied_up_when_the_daemon_dies_is_whole(bench: Workbench) -> None:
    content = os.urandom(1 << 20) * 32
    mount = bench.mounted({"large": file(content)})
    assert mount.layer is not None
    for turn in range(6):
        worker = os.fork()
        if worker == 0:
            actions.error_of(lambda: actions.write(mount.path + b"/large", b"changed"))
            os._exit(0)
        time.sleep(0.002 * turn)
        mount.kill()
        os.waitpid(worker, 0)
        mount.start()
        assert actions.read(mount.path + b"/large") in (content, b"changed" + content[7:])
        assert _left_in_work(mount.layer) == []


def test_a_dead_mount_is_removed_by_one_command_that_says_so(bench: Workbench) -> None:
    mount = bench.mounted({"file": file(b"content")})
    os.kill(mount.daemon, signal.SIGKILL)
    mount.wait()
    assert actions.error_of(lambda: os.stat(mount.path + b"/other")) in ("ENOTCONN", "ECONNABORTED")
    with pytest.raises(MountError, match="dead"):
        mount.start()
    done = cowfs("umount", mount.point)
    assert (done.returncode, done.stderr) == (0, "")
    assert "daemon" in done.stdout
    assert "gone" in done.stdout
    assert not os.path.ismount(mount.point)
    mount.start()  # the lock of the dead process is in nobody's way
    assert actions.read(mount.path + b"/file") == b"content"


class Disk:
    """A small ext4 in a file, whose state at a moment can be copied as a power cut would leave it."""

    def __init__(self, place: Path) -> None:
        self.image, self.point = place / "disk.img", place / "disk"
        self.point.mkdir()
        with self.image.open("wb") as image:
            image.truncate(48 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-E", "nodiscard", str(self.image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.point)], check=True)

    def copy(self, target: Path) -> None:
        """What the disk holds now. Twice the same, so that it is of one moment."""
        again = target.with_suffix(".again")
        while True:
            for copy in (target, again):
                subprocess.run(["cp", "--sparse=always", str(self.image), str(copy)], check=True)
            if filecmp.cmp(target, again, shallow=False):
                again.unlink()
                return


@pytest.fixture
def disk(place: Path) -> Iterator[Disk]:
    made = Disk(place)
    yield made
    syscalls.umount(str(made.point), syscalls.MNT_DETACH)


POWER_BASE = {f"d/f{number}": file(b"base %03d\n" % number * 5000) for number in range(40)}


def _change_and_sync(root: bytes, report: int) -> None:
    """For ever: change or create a file, sometimes sync it, and tell what must survive from then on."""
    for turn in itertools.count():
        changed, created = b"d/f%d" % (turn % 40), b"d/new%d" % turn
        for name, flags in ((changed, os.O_WRONLY | os.O_APPEND), (created, os.O_WRONLY | os.O_CREAT)):
            with actions.opened(root + b"/" + name, flags) as descriptor:
                os.write(descriptor, b"turn %d\n" % turn)
                if turn % 3:
                    os.fsync(descriptor)
                    os.write(report, b"%s %d\n" % (name, turn))
        if turn % 7 == 0:
            os.rename(root + b"/" + created, root + b"/d/moved%d" % turn)
            with actions.opened(root + b"/d") as descriptor:
                os.fsync(descriptor)
            if turn % 3:
                os.write(report, b"d/moved%d %d\n" % (turn, turn))


def _check_after_power_cut(mount: Mount, promised: list[bytes]) -> None:
    for line in promised:
        name, _, turn = line.partition(b" ")
        if name.startswith(b"d/new") and int(turn) % 7 == 0:
            continue  # renamed
        assert b"turn %s\n" % turn in actions.read(mount.path + b"/" + name), line
    for base_name, entry in POWER_BASE.items():
        content = actions.read(mount.path + b"/" + base_name.encode())
        assert content.startswith(entry.content), base_name  # copied up as a whole or not at all


def test_with_sync_what_was_synced_survives_a_power_cut(bench: Workbench, disk: Disk) -> None:
    base = bench.base(POWER_BASE)
    mount = bench.mount(base, layer=disk.point / "layer", start=False)
    mount.options = ("--sync", *mount.options)
    mount.start()
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        try:
            _change_and_sync(mount.path, writing)
        finally:
            os._exit(0)
    os.close(writing)
    os.set_blocking(reading, False)
    promised: list[bytes] = []
    images: list[tuple[Path, list[bytes]]] = []
    try:
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            for number in range(CUTS):
                time.sleep(0.15 + 0.1 * number)
                while len(promised) < 10 * (number + 1):  # on a busy machine it takes longer
                    time.sleep(0.01)
                    promised += (pipe.read(1 << 16) or b"").splitlines()
                os.kill(worker, signal.SIGSTOP)
                os.kill(mount.daemon, signal.SIGSTOP)
                promised += (pipe.read(1 << 16) or b"").splitlines()
                images.append((disk.image.with_name(f"cut{number}.img"), list(promised)))
                disk.copy(images[-1][0])
                os.kill(mount.daemon, signal.SIGCONT)
                os.kill(worker, signal.SIGCONT)
    finally:
        os.kill(worker, signal.SIGKILL)
        os.kill(mount.daemon, signal.SIGCONT)
        os.waitpid(worker, 0)
    mount.stop()
    for image, kept in images:
        point = image.with_suffix("")
        point.mkdir()
        subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
        try:
            survivor = bench.mount(base, layer=point / "layer", name=f"mnt-{point.name}")
            _check_after_power_cut(survivor, kept)
            survivor.stop()
        finally:
            syscalls.umount(str(point), syscalls.MNT_DETACH)
    assert len(promised) > 20
