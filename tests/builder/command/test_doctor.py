"""`cowbuild doctor` on this machine as it is, and on one on which things are missing."""

from __future__ import annotations

import json
import subprocess

import pytest

from builder.command.doctor import CHECKS, MORE_COMMANDS
from tests.builder.packages import COWBUILD, Workplace, for_both

ROOM = {"sessions", "bases", "kept between builds"}

SICK = """
mount --bind /dev/null /dev/fuse
mount -t tmpfs none /usr/share/keyrings
mkdir /run/doctor
for command in unshare apt-get apt-config dpkg sh cat ip umount mount env setpriv true; do
    ln -s "$(command -v $command)" /run/doctor/
done
PATH=/run/doctor exec "$@"
"""
"""A machine without FUSE, keyrings, mmdebstrap, dpkg-dev, gpgv and pasta, until the command ends."""


@for_both
def test_nothing_is_wrong_with_this_machine_and_each_thing_is_said(work: Workplace) -> None:
    command = [*work.base.owner.before, *COWBUILD, "doctor", "--json"]
    environment = {**work.environment, "XDG_DATA_HOME": str(work.state)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 0, [each for each in found if each["state"] == "fails"]
    assert {each["subject"] for each in found} == {
        name for name, *_ in CHECKS if name not in ("room", "more commands")
    } | (ROOM | set(MORE_COMMANDS))
    assert {each["state"] for each in found} <= {"works", "without"}
    for subject in ("user namespaces", "mount", "mirror", "archive's keyring"):
        assert [each["state"] for each in found if each["subject"] == subject] == ["works"]


@pytest.mark.root
def test_what_is_missing_is_said_with_the_command_that_mends_it(work: Workplace) -> None:
    within = ("unshare", "--mount", "--", "sh", "-ec", "mount -t tmpfs none /run\n" + SICK, "sh")
    done = subprocess.run(
        [*within, *COWBUILD, "doctor"], env=work.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == ""
    lines = [line.strip() for line in done.stdout.splitlines()]
    for beginning, mend in (
        ("fails    commands", "sudo apt-get install mmdebstrap dpkg-dev gpgv"),
        ("fails    mount", "cowfs: "),
        ("without  network", "sudo apt-get install passt"),
        ("fails    archive's keyring", "apt-get install debian-archive-keyring"),
        ("without  developers' keyring", "sudo apt-get install debian-keyring"),
        ("without  diffoscope", "sudo apt-get install diffoscope-minimal"),
    ):
        [at] = [at for at, line in enumerate(lines) if line.startswith(beginning)]
        assert lines[at + 1].startswith(mend), lines
    assert lines[-1] == "4 of these must be mended before cowbuild can build here."
