"""Debian's own pbuilder in a session over a base: `cowbuild pbuilder`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.builder.packages import make_source
from tests.interop.conftest import Machine

pytestmark = pytest.mark.root


def _pbuilder(machine: Machine, place: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"TMPDIR": str(place), "HOME": str(place)}
    done = machine.run("cowbuild", "pbuilder", machine.base.path, *words, place=place, environment=environment)
    assert list(place.glob("cowbuild-*")) == []
    return done


def test_it_builds_a_package_in_a_session(machine: Machine, place: Path) -> None:
    make_source(place, "df --output=fstype / | grep -q fuse && test -c /dev/null")
    done = _pbuilder(machine, place, "build", "--aptcache", "", "--buildresult", place / "out", "tiny_1.dsc")
    assert done.returncode == 0, done.stdout
    assert {path.suffix for path in (place / "out").iterdir()} >= {".deb", ".changes", ".buildinfo"}


def test_a_build_that_fails_is_told_by_the_exit_code(machine: Machine, place: Path) -> None:
    make_source(place, "exit 1")
    done = _pbuilder(machine, place, "build", "--aptcache", "", "--buildresult", place / "out", "tiny_1.dsc")
    assert done.returncode != 0
    assert "Failed autobuilding of package" in done.stdout


def test_what_a_script_does_to_the_root_is_gone_and_the_machine_s_devices_stay(machine: Machine, place: Path) -> None:
    shared = os.stat("/dev/shm")
    script = place / "script"
    script.write_text("#!/bin/sh\nset -e\nrm -r /usr/share/doc\ntouch /usr/mine /dev/shm/mine\necho done-$(id -u)\n")
    done = _pbuilder(machine, place, "execute", "--aptcache", "", script)
    assert done.returncode == 0, done.stdout
    assert "done-0" in done.stdout
    assert os.stat("/dev/shm").st_ino == shared.st_ino
    assert not Path("/dev/shm/mine").exists()


def test_options_for_other_programs_reach_pbuilder_as_they_were_given(machine: Machine, place: Path) -> None:
    make_source(place)
    words = (
        "--aptcache",
        "",
        "--buildresult",
        place / "out",
        "--debbuildopts",
        "-b",
        "--debbuildopts",
        "-v0~",
        "tiny_1.dsc",
    )
    done = _pbuilder(machine, place, "build", *words)
    assert done.returncode == 0, done.stdout
    assert "dpkg-buildpackage -us -uc -b -v0~" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clean"], "pbuilder's clean is not about a session"),
        (["build", "--basetgz", "x", "y.dsc"], "pbuilder's --basetgz cannot be had"),
        (["build", "--no-such"], "pbuilder: option --no-such not recognized"),
    ],
)
def test_what_makes_no_sense_is_told(machine: Machine, place: Path, words: list[str], said: str) -> None:
    done = _pbuilder(machine, place, *words)
    assert done.returncode == 2
    assert said in done.stdout


def test_pbuilder_makes_a_base_only_at_a_path(machine: Machine, place: Path) -> None:
    done = machine.run("cowbuild", "pbuilder", "named", "create", place=place)
    assert done.returncode == 2
    assert "./named" in done.stdout
