"""`cowbuild-schroot`, and Debian's own sbuild on it: unmodified, as a plain user, without root and without schroot."""

from __future__ import annotations

import grp
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from builder import records
from builder.session import held
from tests.builder.conftest import BECOME_USER, USER
from tests.builder.packages import Base, make_source
from tests.harness.command import wait_until
from tests.interop.conftest import COMMANDS, Machine, results

pytestmark = pytest.mark.root

PROGRAM, COWBUILD = COMMANDS / "cowbuild-schroot", COMMANDS / "cowbuild"

NAME = "trixie-amd64-debomatic"

# sbuild's schroot back end is for members of its group; and the mount namespace is to stay while nothing of ours runs.
IN_GROUP = BECOME_USER.replace("--clear-groups", '--groups "$group"').replace("exec setpriv", "setpriv")

SBUILDRC = f"""\
$chroot_mode = 'schroot';
$conf->set('SCHROOT', '{PROGRAM}');
1;
"""


class Place:
    """A plain user's, or root's, directories, with the tests' base by a name in them."""

    def __init__(self, path: Path, base: Base) -> None:
        self.path = path
        self.base = base
        self.plain = bool(base.owner.before)
        (path / "data/cowfs/bases" / NAME).mkdir(parents=True)
        (path / "data/cowfs/bases" / NAME / "current").symlink_to(base.path)
        for name in ("state", "sessions", "work"):
            (path / name).mkdir()
        if self.plain:
            for each in (path, *path.rglob("*")):
                os.chown(each, USER, USER, follow_symlinks=False)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command in the user's name to its end, its errors apart from its output."""
        before: Sequence[str | Path] = ()
        if self.plain:
            before = ("unshare", "--mount", "sh", "-c", IN_GROUP, "become-user", str(USER))
        own = {
            "HOME": str(self.path / "work"),
            "TMPDIR": str(self.path / "sessions"),
            "XDG_DATA_HOME": str(self.path / "data"),
            "XDG_STATE_HOME": str(self.path / "state"),
            "group": str(grp.getgrnam("sbuild").gr_gid),
        }
        return subprocess.run(
            [*before, *command],
            cwd=self.path / "work",
            env={**os.environ, **self.base.owner.environment, **own},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )

    def output(self, *command: str | Path) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def inside(self, session: str, *command: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        words = ("-d", "/", "-c", session, "--run-session", "-q", "-u", user, "-p", "--")
        return self.run(PROGRAM, *words, *command)

    def left(self) -> list[Path]:
        return [*(self.path / "sessions").iterdir(), *(self.path / "state").glob("cowfs/sessions/*")]


@pytest.fixture(params=["root", "user"])
def user(request: pytest.FixtureRequest, base_of: Callable[..., Base]) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="cowbuild-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        made = Place(Path(name), base_of(request.param))
        yield made
        wait_until(lambda: made.left() == [])
        made.base.assert_unchanged()


@pytest.fixture
def session(user: Place) -> Iterator[str]:
    begun = user.output(PROGRAM, "-c", f"chroot:{NAME}", "--begin-session").strip()
    yield begun
    user.output(PROGRAM, "-c", begun, "--end-session")


def _holder(session: str) -> held.Holder:
    fields = records.read(Path(session) / held.HOLDER, held.FIELDS)
    assert fields is not None
    return held.Holder(**fields)


def test_a_session_lasts_from_call_to_call(user: Place, session: str) -> None:
    script = "echo $MARK; findmnt -no FSTYPE /; useradd --system made; echo kept > /kept; pwd; rm /usr/bin/head; exit 7"
    done = user.inside(session, "env", "MARK=mark", "sh", "-c", script)
    assert (done.returncode, done.stdout.split(), done.stderr) == (7, ["mark", "fuse.cowfs", "/"], "")
    # Users of the session, without a network, without rights to gain.
    done = user.inside(
        session, "sh", "-c", "id -un; cat /kept; wc -l < /proc/net/route; grep NoNew /proc/self/status", user="made"
    )
    assert (done.stdout.split(), done.stderr) == (["made", "kept", "1", "NoNewPrivs:", "1"], "")
    assert "There is no user nobody-such" in user.inside(session, "true", user="nobody-such").stderr
    told = user.output(PROGRAM, "--info", "--chroot", f"session:{session}")
    assert re.search(r"^ +--- Session ---\n(.*\n)* +Session Purged +true$", told, re.MULTILINE)
    [location] = re.findall(r"^ +Path +(.*)", told, re.MULTILINE)
    assert Path(location).is_dir()
    assert user.output(PROGRAM, "--list", "--all").split() == [f"chroot:{NAME}", f"session:{Path(session).name}"]
    assert Path(session).name in user.output(COWBUILD, "sessions")
    done = user.run(PROGRAM, "-c", NAME, "-d", "/usr", "-u", "root", "--", "sh", "-c", "pwd; ls /kept; exit 3")
    assert (done.returncode, done.stdout) == (3, "/usr\n")


def test_a_session_whose_processes_were_killed_is_there_again(user: Place, session: str) -> None:
    user.inside(session, "sh", "-c", "echo kept > /kept; rm /etc/hostname")
    before = _holder(session)
    os.kill(before.cowbuild, signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{before.process}").exists())
    assert user.inside(session, "sh", "-c", "cat /kept; ls /etc/hostname.mine").stdout == "kept\n"
    assert _holder(session).process != before.process


def test_what_is_left_of_a_killed_sbuild_is_found_and_removed_and_of_one_that_is_ended_nothing(user: Place) -> None:
    begun = user.output(PROGRAM, "-c", NAME, "--begin-session").strip()
    holder = _holder(begun)
    user.output(COWBUILD, "discard", Path(begun).name)
    assert not Path(f"/proc/{holder.process}").exists()
    assert user.output(PROGRAM, "--list", "--all-sessions") == ""
    command = f"{PROGRAM} -c {NAME} -u root -- sh -c 'echo begun; exec sleep 600'"
    ended = user.run("sh", "-c", f"mkfifo told; exec 3<>told; {command} >&3 & read -r _ <&3; kill $!; wait $!")
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, "")
    assert user.left() == []


def test_what_cannot_be_had_is_told(user: Place) -> None:
    for words, code, said in (
        (["-c", "none", "-b"], 2, "There is no base none"),
        (["-c", f"source:{NAME}", "-b"], 2, "A base is not changed where it is"),
        (["-c", "none", "-r", "--", "true"], 2, "There is no kept session none"),
        (["-b"], 2, "Which chroot?"),
    ):
        done = user.run(PROGRAM, *words)
        assert (done.returncode, done.stdout) == (code, "")
        assert said in done.stderr


def test_it_tells_of_all_chroots_also_without_an_environment() -> None:
    """So sbuild asks for them."""
    done = subprocess.run([PROGRAM, "--info"], env={"LC_ALL": "C"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("user", ["user"], indirect=True)
def test_sbuild_builds_as_a_plain_user_what_it_builds_on_schroot(user: Place, machine: Machine, place: Path) -> None:
    """Called as deb-o-matic calls it."""
    work = user.path / "work"
    (work / ".sbuildrc").write_text(SBUILDRC)
    script = "df --output=fstype . | tail -n 1; echo by-$(id -un)"
    make_source(work, script)
    for each in work.rglob("*"):
        os.chown(each, USER, USER)
    words = ["-A", "-s", "-d", "trixie", "--arch=amd64", "-c", NAME, "--no-run-lintian", "--debbuildopt=-v0~"]
    # The tests' base has no newer lists of packages.
    words += ["--log-external-command-output", "--no-apt-update", "--no-apt-upgrade", "--no-apt-distupgrade"]
    done = user.run("sbuild", *words, "tiny_1.dsc")
    log = (work / "tiny_1_amd64.build").read_text()
    assert done.returncode == 0, log + done.stderr
    assert re.search(r"^Status: successful$", log, re.MULTILINE)
    assert re.search(r"^fuse\.?", log, re.MULTILINE)
    assert "by-tester\n" in log
    assert "getcwd" not in log
    make_source(place, script)
    machine.output("cowbuild", "schroot-config", machine.base.path, "--name", NAME, "--install")
    machine.output("sbuild", "--chroot-mode=schroot", *words, "tiny_1.dsc", place=place)
    theirs, ours = (
        {name: text for name, text in results(directory).items() if not re.search(r"Z\.build$|rc$", name)}
        for directory in (place, work)
    )
    assert ours == theirs
    assert "tiny_1_amd64.deb" in ours
