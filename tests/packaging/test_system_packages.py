"""The lists of Debian packages, and what setup/system-packages says as a plain user, who can install none."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from debian.deb822 import Deb822

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "setup/system-packages"
MISSING = "no-release-has-this"
NOBODY = 65534


@pytest.mark.parametrize(
    ("wanted", "code", "says"),
    [
        ("bash\n", 0, ""),
        (f"bash?\n{MISSING}?\n", 0, f"Left out: {MISSING}, which "),
        (f"bash # a comment\n{MISSING}\n", 1, f"apt-get install --no-install-recommends {MISSING}\n"),
        (f"{MISSING}?\n{MISSING}-either\n", 1, f"apt-get install --no-install-recommends {MISSING}-either\n"),
    ],
)
def test_a_package_is_left_out_where_it_may_be(wanted: str, code: int, says: str) -> None:
    with tempfile.TemporaryDirectory(prefix="cowfs-test-", dir="/tmp") as place:
        Path(place).chmod(0o755)
        listed = Path(place) / "packages.txt"
        listed.write_text(wanted)
        done = subprocess.run(
            ["sh", "-c", SCRIPT.read_text(), SCRIPT, listed],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd="/",
            user=NOBODY if os.geteuid() == 0 else None,
        )
    assert done.returncode == code, done.stdout
    assert says in done.stdout
    assert bool(says) == bool(done.stdout)


def _listed(path: str) -> list[str]:
    lines = (ROOT / path).read_text().splitlines()
    return [line.rstrip("?") for line in lines if line and not line.startswith("#")]


def test_each_package_is_listed_once_where_it_is_first_needed() -> None:
    """The demo installs the first list only: what tests and benchmarks need beside it may be large."""
    lists = [_listed(f"{folder}/packages.txt") for folder in ("setup", "tests", "benchmarks")]
    assert all(names == sorted(names) for names in lists)
    names = [name for listed in lists for name in listed]
    assert len(names) == len(set(names))


def test_the_demo_s_list_is_what_the_debian_packages_depend_on_and_what_builds_pyfuse3() -> None:
    listed = set(_listed("setup/packages.txt"))
    packages = [Deb822(text) for text in (ROOT / "debian/control").read_text().split("\n\n")]
    relations = [f"{package.get('Depends', '')}, {package.get('Recommends', '')}" for package in packages]
    wanted = [
        {choice.split()[0] for choice in choices.split("|")}
        for choices in ", ".join(relations).replace("\n", " ").split(",")
        if choices.strip() and "$" not in choices
    ]
    by_pip = {"python3-debian", "python3-pyfuse3", "python3-rich", "python3-trio"}
    not_installed = {"apt", "debian-keyring"}  # the one is there, the other is large, and only tells who signed
    assert [choices for choices in wanted if not choices & (listed | by_pip | not_installed)] == []
    builds_pyfuse3 = {"build-essential", "libfuse3-dev", "pkg-config", "python3", "python3-dev", "python3-venv"}
    assert listed - builds_pyfuse3 - set().union(*wanted) == {"util-linux"}
