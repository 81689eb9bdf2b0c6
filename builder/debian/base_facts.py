"""Bases: the clean Debian trees that sessions stand on."""

from __future__ import annotations

import os
from pathlib import Path

from debian.deb822 import Deb822

from builder.debian import apt
from builder.log import Misuse
from builder.problems import Problem


def check_keyring(keyring: Path) -> None:
    """Misuse where there is none; Problem where it is Debian's that is missing."""
    if keyring == apt.KEYRING and not keyring.exists():
        raise Problem(f"The keyring {keyring} is missing", "apt-get install debian-archive-keyring")
    if not keyring.is_file():
        raise Misuse(f"There is no keyring {keyring}", "--keyring FILE")


def check_ours(base: Path) -> None:
    """Problem when the base's root is not root in our eyes: its files could then be neither read nor copied right."""
    if (base / "usr").stat().st_uid != os.geteuid():
        raise Problem(f"The base {base} was made by another user", "Make one of your own with cowbuild create.")


def architecture(base: Path) -> str:
    """The Debian architecture of the base, as its dpkg was built for. Problem when it is no Debian tree."""
    status = base / "var/lib/dpkg/status"
    try:
        with status.open(encoding="utf-8", errors="replace") as file:
            for paragraph in Deb822.iter_paragraphs(file, fields=["Package", "Architecture"], use_apt_pkg=False):
                if paragraph.get("Package") == "dpkg":
                    return str(paragraph["Architecture"])
    except OSError:
        pass
    raise Misuse(f"{base} is not a Debian base", "Make one: cowbuild create DIRECTORY --suite SUITE")


def foreign_architectures(base: Path) -> list[str]:
    """The other architectures whose packages the base's dpkg installs, too."""
    try:
        known = (base / "var/lib/dpkg/arch").read_text(errors="replace").split()
    except OSError:
        return []
    return [each for each in known if each != architecture(base)]


def code_name(base: Path) -> str:
    """The release the base holds, as its os-release says, else 'unknown'."""
    try:
        text = (base / "usr/lib/os-release").read_text(errors="replace")
    except OSError:
        return "unknown"
    for line in text.splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    # testing and unstable leave the field out at times.
    return "unknown"
