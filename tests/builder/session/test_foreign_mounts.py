"""What is unmounted on the machine is gone, also while a session, which has copies of the machine's mounts, lasts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from builder import user_namespace
from builder.session import foreign_mounts
from cowfs.mountinfo import parsed
from tests.builder.packages import COWBUILD, Workplace

COWFS = (sys.executable, "-P", "-m", "cowfs")


@pytest.mark.parametrize(
    ("work", "propagation", "options"),
    [
        ("root", "private", ()),
        ("root", "private", ("--no-user-namespace",)),
        ("root", "shared", ()),
        ("user", "shared", ()),
    ],
    indirect=["work"],
)
def test_a_mount_of_the_machine_can_be_unmounted_while_a_session_lasts(
    work: Workplace, propagation: str, options: tuple[str, ...]
) -> None:
    base, layer, point = (work.place / f"machines-{name}" for name in ("base", "layer", "mount"))
    base.mkdir()
    point.mkdir()
    mount: list[str] = [*COWFS, "--layer", str(layer), str(base), str(point)]
    first = 'mount=$1; shift; eval "$mount" && exec "$@"'
    # The first words of a plain user's make a mount namespace, with private mounts; here there is one already.
    become = work.base.owner.before[2:]
    command = [
        *("unshare", "--mount", "--propagation", propagation, "sh", "-c", first, "first", " ".join(mount)),
        *(*become, *COWBUILD, *options, "run", str(work.base.path), "--", "sh", "-c", "echo ready; exec cat"),
    ]
    with subprocess.Popen(
        command, env=work.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "ready\n"
        on_machine = ("nsenter", "--target", str(session.pid), "--mount", "--")
        for then in (["umount", str(point)], mount, ["umount", str(point)]):
            done = subprocess.run([*on_machine, *then], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        # Nothing of the session is mounted on the machine.
        table = Path(f"/proc/{session.pid}/mountinfo").read_text()
        assert str(work.sessions) not in table
        session.communicate()
    assert session.returncode == 0


def test_what_the_session_is_given_stays_mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [
        "20 1 0:20 / / rw,relatime - ext4 /dev/vda rw",
        "21 20 0:21 / /proc rw,relatime - proc proc rw",
        *(f"3{number} 20 0:3{number} / {point} rw - fuse.sshfs host: rw" for number, point in enumerate(POINTS)),
        "40 20 0:40 / /media/stick rw - ext4 /dev/sdb rw",
        "41 20 0:41 / /srv rw shared:5 - ext4 /dev/sdc rw",
        "42 41 0:42 / /srv/follows rw master:7 - fuse.sshfs host: rw",
    ]
    monkeypatch.setattr(foreign_mounts, "mounts_of", lambda: [parsed(line.encode()) for line in lines])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OUTPUT_OF_MINE", "/fuse/variable/output")
    monkeypatch.setattr(user_namespace, "wanted", lambda: False)
    command = foreign_mounts.before(["build", "--output=/fuse/option", "cat /fuse/hook/x"], [Path("/fuse/tmp")])
    assert command[command.index("sh", 6) + 1 :] == ["/media/stick", "/fuse/with space", "--"]


POINTS = ("/fuse/option", "/fuse/tmp", "/fuse/variable", "/fuse/hook", "/usr/share/fuse", "/fuse/with\\040space")
