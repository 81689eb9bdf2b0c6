"""Packages of Debian's archive, of different kinds, built by a plain user and held against Debian's own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.builder.packages import COWBUILD, Workplace, archive_source

# dh-python and cmake; autotools are the theme of test_stages.py.
SOURCES = ("python-h11", "cjson")

# Prints what each of Debian's packages holds, after a line with its file name.
LIST_DEBIANS = """
cd /tmp && apt-get -q update >&2 && apt-get -q download "$@" >&2
for file in *.deb; do echo "PACKAGE $file"; dpkg-deb --contents "$file"; done
"""


def held(contents: str) -> list[str]:
    """Mode, owner, path and target of each file; without its size, which the compiler decides, and its date."""
    return sorted(re.sub(r"^(\S+ \S+) +\S+ \S+ \S+ ", r"\1 ", line) for line in contents.splitlines())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_packages_of_two_kinds_hold_what_debians_own_hold(work: Workplace) -> None:
    work.place.chmod(0o755)
    dscs = [archive_source(name, make(work.place / name)) for name in SOURCES]
    code, printed = work.build(dscs, "--parallel", "2")
    assert code == 0, printed + "".join(log.read_text()[-2000:] for log in work.output.glob("*.build"))
    logs = [path.read_text() for path in work.output.glob("*.build") if not path.is_symlink()]
    assert len(logs) == len(SOURCES)
    for log in logs:
        assert "\nStatus: successful\n" in log

    built = {path.name: path for path in work.output.glob("*.deb") if "-dbgsym_" not in path.name}
    names = sorted({name.partition("_")[0] for name in built})
    run = [*work.base.owner.before, *COWBUILD, "run", str(work.base.path), "--"]
    command = [*run, "sh", "-c", LIST_DEBIANS, "sh", *names]
    listed = subprocess.check_output(command, env=work.environment, text=True)
    debians = dict(part.split("\n", 1) for part in listed.split("PACKAGE ")[1:])
    # apt writes the colon of an epoch in another way; nothing here has one.
    assert sorted(debians) == sorted(built)
    for name, path in built.items():
        ours = subprocess.check_output(["dpkg-deb", "--contents", path], text=True)
        assert held(ours) == held(debians[name])


def make(directory: Path) -> Path:
    directory.mkdir()
    return directory
