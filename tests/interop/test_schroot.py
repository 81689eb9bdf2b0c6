"""Debian's own schroot and sbuild on cowfs: nothing of them is changed, only set up by `cowbuild schroot-config`."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.debian import apt
from tests.builder.packages import log_of, make_source
from tests.harness.command import wait_until
from tests.interop.conftest import Machine

pytestmark = pytest.mark.root

SBUILD = ("sbuild", "--chroot-mode=schroot", "--no-run-lintian", "--nolog", "--no-apt-update", "--no-apt-upgrade")


@pytest.fixture(scope="module")
def chroot(machine: Machine) -> str:
    """The name of a chroot over the tests' base."""
    said = machine.output("cowbuild", "schroot-config", machine.base.path, "--install")
    assert "wrote /etc/schroot/cowfs/config" in said
    [name] = os.listdir("/etc/schroot/chroot.d")
    return name


class Session:
    """A session of schroot, which outlives the commands in it."""

    def __init__(self, machine: Machine, chroot: str) -> None:
        self._machine = machine
        self.name = machine.output("schroot", "--begin-session", "--chroot", chroot).strip()
        self.layer = Path("/var/lib/schroot/union/overlay", self.name)

    def run(self, *command: str) -> str:
        words = ("schroot", "--run-session", "--directory=/", "--chroot", self.name, "--", *command)
        return self._machine.output(*words)

    def recover(self) -> None:
        self._machine.output("schroot", "--recover-session", "--chroot", self.name)

    def end(self) -> None:
        self._machine.output("schroot", "--end-session", "--chroot", self.name)

    def kill_daemon(self) -> None:
        [daemon] = [
            int(process.name)
            for process in Path("/proc").glob("[0-9]*")
            if f"layer={self.layer}".encode() in _command_line(process)
        ]
        os.kill(daemon, signal.SIGKILL)
        wait_until(lambda: not _command_line(Path("/proc", str(daemon))))


def _command_line(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def session(machine: Machine, chroot: str) -> Iterator[Session]:
    begun = Session(machine, chroot)
    yield begun
    begun.end()
    assert not begun.layer.exists()
    assert begun.name not in Path("/proc/self/mountinfo").read_text()


def test_a_command_runs_on_cowfs_and_nothing_of_it_stays(machine: Machine, chroot: str) -> None:
    script = "findmnt -no FSTYPE / && rm -r /usr/share/doc && touch /etc/new && mv /etc/apt /etc/apt2 && id -u"
    assert machine.output("schroot", "-c", chroot, "-d", "/", "--", "sh", "-ec", script).split() == ["fuse.cowfs", "0"]
    assert not (machine.base.path / "etc/new").exists()


def test_sessions_begin_and_run_side_by_side_and_end(machine: Machine, chroot: str, session: Session) -> None:
    others = [Session(machine, chroot) for _ in range(2)]
    session.run("touch", "/mine")
    for other in others:
        assert "mine" not in other.run("ls", "/").split()
        other.run("sh", "-c", "echo theirs > /etc/hostname")
    assert "mine" in session.run("ls", "/").split()
    for other in others:
        other.end()
        assert not other.layer.exists()


def test_a_session_is_recovered_after_its_daemon_was_killed(session: Session) -> None:
    session.run("sh", "-c", "echo kept > /kept && rm /etc/hostname && echo kept > /tmp/kept && echo kept > /build/kept")
    session.kill_daemon()
    session.recover()
    assert session.run("cat", "/kept", "/tmp/kept", "/build/kept") == "kept\n" * 3
    assert "hostname" not in session.run("ls", "/etc").split()


def test_build_and_tmp_are_plain_directories_of_the_session(session: Session) -> None:
    script = "stat -c '%a %n' /tmp /build; findmnt -no FSTYPE -T /tmp; findmnt -no FSTYPE -T /build; touch /tmp/mine"
    *modes, of_tmp, of_build = session.run("sh", "-ec", script).splitlines()
    assert modes == ["1777 /tmp", "2770 /build"]
    assert "fuse.cowfs" not in (of_tmp, of_build)
    assert (session.layer / "own/tmp/mine").exists()


def test_a_session_ends_also_when_its_daemon_was_killed(session: Session) -> None:
    session.run("touch", "/file")
    session.kill_daemon()


def test_a_plain_user_of_the_group_sbuild_may_use_it(machine: Machine, chroot: str) -> None:
    become = ("setpriv", "--reuid=sbuild", "--regid=sbuild", "--init-groups", "--")
    script = "id -un && touch /build/mine && ! touch /usr/mine 2>/dev/null"
    assert machine.output(*become, "schroot", "-c", chroot, "-d", "/", "--", "sh", "-ec", script).split() == ["sbuild"]


def test_a_session_sees_the_machine_s_devices_and_no_mount_of_it_reaches_back(session: Session) -> None:
    session.run("sh", "-c", "echo text > /dev/null && test -c /dev/urandom && touch /dev/shm/mine")
    assert not Path("/dev/shm/mine").exists()
    below = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines() if session.name in line]
    shared = [fields[4] for fields in below if any(word.startswith("shared:") for word in fields)]
    assert shared == []


def test_sbuild_builds_a_package_within_the_session(machine: Machine, chroot: str, place: Path) -> None:
    dsc = make_source(place, "df --output=fstype . | tail -n 1 && ls -l /usr/share/doc/base-files")
    done = machine.output(*SBUILD, "--dist", "unstable", "--chroot", chroot, "--verbose", dsc, place=place)
    assert "Status: successful" in done
    assert not re.search(r"^fuse\.?", done, re.MULTILINE)
    assert any(path.suffix == ".deb" for path in place.iterdir())
    assert os.listdir("/var/lib/sbuild/build") == []


@pytest.mark.usefixtures("chroot")
def test_sbuild_finds_the_chroot_by_the_suite_updates_it_and_installs_dependencies(
    machine: Machine, place: Path
) -> None:
    dsc = make_source(place, "hello", depends="dpkg-dev, hello")
    suite = apt.machine_suite()
    # By the suite: the chroot has the name that sbuild looks for.
    done = machine.run("sbuild", "--chroot-mode=schroot", "--dist", suite, "--no-run-lintian", dsc, place=place)
    assert done.returncode == 0, done.stdout
    log = log_of(place)
    assert "Status: successful" in log
    assert "\nHello, world!\n" in log
    assert [path.name.split("_")[0] for path in place.glob("*.deb")] == ["tiny"]


@pytest.mark.usefixtures("chroot")
def test_a_base_with_a_name_is_used_as_it_then_is(machine: Machine, place: Path) -> None:
    """What stands in the entry is the link to the base's present state, not one of its states."""
    home = place / "cowfs/bases/clean"
    home.mkdir(parents=True)
    (home / "current").symlink_to(machine.base.path)
    environment = {"XDG_DATA_HOME": str(place)}
    done = machine.run("cowbuild", "schroot-config", "clean", "--install", environment=environment)
    assert done.stdout == "wrote /etc/schroot/chroot.d/clean\n"
    entry = Path("/etc/schroot/chroot.d/clean")
    assert f"directory={home}/current\n" in entry.read_text()
    assert machine.output("schroot", "-c", "clean", "-d", "/", "--", "findmnt", "-no", "FSTYPE", "/") == "fuse.cowfs\n"
    entry.unlink()


@pytest.mark.usefixtures("chroot")
def test_a_quota_limits_what_a_session_writes(machine: Machine) -> None:
    small = ("--name", "small", "--quota", "4M,1000", "--install")
    machine.output("cowbuild", "schroot-config", machine.base.path, *small)
    done = machine.run("schroot", "-c", "small", "-d", "/", "--", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=9")
    Path("/etc/schroot/chroot.d/small").unlink()
    assert done.returncode == 1
    assert "No space left on device" in done.stdout


@pytest.mark.usefixtures("chroot")
def test_sbuild_update_upgrades_the_source_chroot(machine: Machine, place: Path) -> None:
    """Of a chroot over a directory that may change: a mount of cowfs, here, so that the tests' base does not."""
    copy = place / "copy"
    copy.mkdir()
    machine.output("mount", "-t", "fuse.cowfs", machine.base.path, copy)
    machine.output("cowbuild", "schroot-config", copy, "--name", "changing", "--install")
    said = machine.output("sbuild-update", "--update", "--upgrade", "--clean", "changing")
    assert "changing: Performing upgrade" in said
    machine.output("schroot", "-c", "source:changing", "-d", "/", "--", "touch", "/changed")
    assert (copy / "changed").exists()
    assert machine.output("schroot", "-c", "changing", "-d", "/", "--", "ls", "/changed") == "/changed\n"
    Path("/etc/schroot/chroot.d/changing").unlink()
    machine.output("umount", copy)


def test_setting_it_up_again_keeps_what_the_machine_s_owner_wrote(machine: Machine, chroot: str) -> None:
    fstab = Path("/etc/schroot/cowfs/fstab")
    before = fstab.read_text()
    fstab.write_text("# mine\n" + before)
    said = machine.output("cowbuild", "schroot-config", machine.base.path, "--install")
    assert said == f"wrote /etc/schroot/chroot.d/{chroot}\n"
    assert fstab.read_text().startswith("# mine")
    fstab.write_text(before)
    own = Path("/etc/schroot/chroot.d/own")
    own.write_text("[own]\ntype=plain\ndirectory=/\n")
    done = machine.run("cowbuild", "schroot-config", machine.base.path, "--install", "--name", "own")
    assert done.returncode == 1
    assert "was not made by cowbuild" in done.stdout
    own.unlink()


@pytest.mark.usefixtures("chroot")
def test_what_is_missing_is_named(machine: Machine) -> None:
    helper = Path("/sbin/mount.fuse.cowfs")
    target = helper.readlink()
    helper.unlink()
    done = machine.run("cowbuild", "schroot-config", machine.base.path, "--install")
    assert done.returncode == 1
    assert f"ln -s {target} /sbin/" in done.stdout
    helper.symlink_to(target)
    done = machine.run("cowbuild", "schroot-config", "no-such-base")
    assert done.returncode == 2
    assert "There is no base no-such-base" in done.stdout
