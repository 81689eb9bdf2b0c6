"""What setup/system-packages says of packages that are not there, as a plain user, who can install none."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "setup/system-packages"
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
