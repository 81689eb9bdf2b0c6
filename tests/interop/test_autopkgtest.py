"""Testbeds by cowfs: the protocol of autopkgtest's virtualisation servers, Debian's autopkgtest, and sbuild on it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from tests.builder.conftest import USER
from tests.builder.packages import Base, make_source
from tests.harness.command import wait_until
from tests.interop.conftest import COMMANDS, Machine

pytestmark = pytest.mark.root

PROGRAM = COMMANDS / "autopkgtest-virt-cowfs"

TESTS = """\
Tests: installed
Depends: @

Tests: breaks
Depends:
Restrictions: needs-root, breaks-testbed

Tests: whole-again
Depends:
"""
SCRIPTS = {
    "installed": "test -f /usr/share/tiny/control && test $(id -u) != 0 && touch $HOME/mine",
    "breaks": "rm -r /usr/share/doc /etc/apt && touch /etc/broken",
    "whole-again": "test -d /etc/apt && ! test -e /etc/broken",
}


class Server:
    """The program, as autopkgtest talks to it."""

    def __init__(self, base: Base, place: Path) -> None:
        self.place = place
        # The shell keeps the mount namespace there, in which the command begins and does not stay.
        stay = ("sh", "-c", '"$@"; exit $?', "sh")
        self._before = (*base.owner.before, *stay) if base.owner.before else ()
        # Debian's search path of plain users.
        path = "/usr/local/bin:/usr/bin:/bin"
        environment = {**os.environ, **base.owner.environment, "TMPDIR": str(place), "PATH": path}
        self.process = subprocess.Popen(
            [*base.owner.before, PROGRAM, base.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            bufsize=1,
        )
        assert self._answer() == ["ok"]

    def ask(self, *words: str | Path) -> list[str]:
        """What is answered, after the word "ok"."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(quote(str(word)) for word in words) + "\n")
        said = self._answer()
        assert said[0] == "ok", said
        return said[1:]

    def command(self) -> list[str]:
        """What stands before a command, undone as autopkgtest does it: quotes first, then commas, then quotes again."""
        [said] = self.ask("print-execute-command")
        return [*self._before, *(unquote(word) for word in unquote(said).split(","))]

    def run(self, script: str) -> str:
        return subprocess.run(
            [*self.command(), "sh", "-ec", script], check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.process:
            self.process.stdin.close()
            self.process.stdout.close()

    def sessions(self) -> list[Path]:
        return list(self.place.glob("cowbuild-*"))

    def _answer(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()


@pytest.fixture(params=["root", "user"])
def server(request: pytest.FixtureRequest, base_of: Callable[..., Base]) -> Iterator[Server]:
    base = base_of(request.param)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="cowbuild-test-") as name:
        place = Path(name)
        if base.owner.before:
            os.chown(place, USER, USER)
        started = Server(base, place)
        yield started
        started.end()
        wait_until(lambda: not started.sessions())


def test_a_testbed_is_opened_reverted_and_closed(server: Server) -> None:
    [scratch] = server.ask("open")
    assert {"revert", "revert-full-system", "root-on-testbed"} <= set(server.ask("capabilities"))
    assert server.run("id -u; findmnt -no FSTYPE /; pwd").split() == ["0", "fuse.cowfs", "/"]
    server.run(f"test -d {scratch}; rm -r /etc/apt; echo mine > /usr/mine")
    assert server.run("cat /usr/mine") == "mine\n"
    assert server.ask("revert") == [scratch]
    server.run(f"test -d {scratch}; test -d /etc/apt; ! test -e /usr/mine")
    server.ask("close")
    assert server.sessions() == []
    server.ask("open")
    server.run("! test -e /usr/mine")


def test_files_and_directories_are_copied_in_and_out(server: Server) -> None:
    [scratch] = server.ask("open")
    there = server.place / "there"
    there.mkdir()
    (there / "file").write_text("text")
    (there / "link").symlink_to("file")
    server.ask("copydown", f"{there}/", f"{scratch}/copy/")
    server.run(f"echo more >> {scratch}/copy/link")
    server.ask("copyup", f"{scratch}/copy/", f"{server.place}/back/")
    assert (server.place / "back/link").is_symlink()
    assert (server.place / "back/file").read_text() == "textmore\n"


def test_commands_run_side_by_side_and_see_each_other(server: Server) -> None:
    server.ask("open")
    with subprocess.Popen([*server.command(), "sh", "-c", "echo $$ > /run/number; exec sleep 100"]) as sleeper:
        time.sleep(0.2)
        server.run("while ! test -s /run/number; do sleep 0.01; done; kill $(cat /run/number)")
        assert sleeper.wait(60) != 0


def test_root_of_a_testbed_gets_no_right_by_replacing_its_programs(server: Server) -> None:
    """What takes the rights from root are the machine's programs, of the testbed's there may be nothing left."""
    server.ask("open")
    for program in ("setpriv", "nsenter", "chroot"):
        server.run(f"cp /bin/true $(command -v {program})")
    capabilities = server.run("grep CapBnd /proc/self/status").split()[1]
    assert not int(capabilities, 16) & 1 << 21  # CAP_SYS_ADMIN
    assert "umounted" not in server.run("umount -l / && echo umounted || :")


def test_a_testbed_goes_with_a_server_that_is_killed(server: Server) -> None:
    server.ask("open")
    server.run("sleep 1000 >/dev/null 2>&1 &")
    server.process.kill()
    wait_until(lambda: not server.sessions())


def test_what_is_missing_is_named(machine: Machine) -> None:
    done = machine.run(PROGRAM, "no-such-base")
    assert done.returncode == 1
    assert done.stdout.startswith("autopkgtest-virt-cowfs: There is no base no-such-base\n")


@pytest.mark.slow
def test_autopkgtest_runs_the_tests_of_a_package(machine: Machine, place: Path) -> None:
    make_source(place)
    tests = place / "tiny-1/debian/tests"
    tests.mkdir()
    (tests / "control").write_text(TESTS)
    for name, script in SCRIPTS.items():
        (tests / name).write_text(f"#!/bin/sh\nset -e\n{script}\n")
        (tests / name).chmod(0o755)
    done = machine.run("autopkgtest", place / "tiny-1", "--", "cowfs", machine.base.path, place=place)
    assert done.returncode == 0, done.stdout
    summary = done.stdout.split("summary")[-1].split()
    assert dict(zip(summary[::2], summary[1::2], strict=True)) == dict.fromkeys(SCRIPTS, "PASS")


def test_sbuild_builds_in_a_testbed(machine: Machine, place: Path) -> None:
    dsc = make_source(place, "df --output=fstype . | grep -q fuse")
    options = ("--no-run-lintian", "--nolog", "--no-apt-update", "--no-apt-upgrade", "--no-apt-distupgrade")
    server = (f"--autopkgtest-virt-server={PROGRAM}", f"--autopkgtest-virt-server-opt={machine.base.path}")
    done = machine.run("sbuild", "--chroot-mode=autopkgtest", *server, "-d", "unstable", *options, dsc, place=place)
    assert done.returncode == 0, done.stdout
    assert "Status: successful" in done.stdout
    assert [path.name for path in place.glob("*.deb")] == [f"tiny_1_{_architecture(machine)}.deb"]


def _architecture(machine: Machine) -> str:
    return machine.output("dpkg", "--print-architecture").strip()
