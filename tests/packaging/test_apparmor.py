"""The AppArmor profile of the Debian package: it is one, and it is every command's that makes a user namespace."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.packaging.test_debian import ROOT

PROFILE = ROOT / "debian/apparmor-profile"

ONLY_SINCE_4 = ("abi <abi/4.0>,", "userns,")
"""What the parser of Debian 12 does not know; so the package built there has no profile."""


def test_the_parser_takes_it(tmp_path: Path) -> None:
    lines = PROFILE.read_text().splitlines()
    assert [line.strip() for line in lines if line.strip() in ONLY_SINCE_4] == list(ONLY_SINCE_4)
    version = subprocess.check_output(["apparmor_parser", "--version"], text=True)
    if int((re.search(r"version (\d+)", version) or ["", "0"])[1]) < 4:
        lines = [line for line in lines if line.strip() not in ONLY_SINCE_4]
    (tmp_path / "cowbuild").write_text("\n".join(lines) + "\n")
    parser = ["apparmor_parser", "-Q", "--skip-kernel-load", "--skip-cache", str(tmp_path / "cowbuild")]
    parsed = subprocess.run(parser, capture_output=True, text=True, check=False)
    assert parsed.returncode == 0, parsed.stderr


def test_it_is_of_every_command_of_the_package() -> None:
    installed = (ROOT / "debian/cowbuild.install").read_text().split()
    commands = {name.removeprefix("usr/bin/") for name in installed if name.startswith("usr/bin/")}
    attached = re.search(
        r"^profile cowbuild /usr/bin/\{(.*)\} flags=\(unconfined\) \{$", PROFILE.read_text(), re.MULTILINE
    )
    assert attached is not None
    assert set(attached[1].split(",")) == commands
