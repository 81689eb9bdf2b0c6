"""Bases: the clean Debian trees that sessions stand on."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from debian.deb822 import Deb822

from builder import hostile_tree
from builder.problems import Problem

ONE_LINE_SOURCE = re.compile(r"\s*deb\s+(?:\[[^]]*\]\s*)?\S+\s+(?P<suite>\S+)")
SOURCES_LIMIT = 1024 * 1024
"""Bytes that a file of apt's sources may have."""


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
    raise Problem(f"{base} is not a Debian base", "Make one: cowbuild create DIRECTORY --suite SUITE")


def foreign_architectures(base: Path) -> list[str]:
    """The other architectures whose packages the base's dpkg installs, too."""
    try:
        known = (base / "var/lib/dpkg/arch").read_text(errors="replace").split()
    except OSError:
        return []
    return [each for each in known if each != architecture(base)]


def suite(base: Path) -> str:
    """The suite that the base's apt takes packages from, by the first of its sources; else the base's `code_name`.

    Only that tells unstable from testing.
    """
    with suppress(OSError, ValueError), hostile_tree.directory(base, "etc/apt") as place:
        for line in _text(place, "sources.list").splitlines():
            if found := ONE_LINE_SOURCE.match(line):
                return _release(found["suite"])
    with suppress(OSError, ValueError), hostile_tree.directory(base, "etc/apt/sources.list.d") as place:
        for name in hostile_tree.names(place):
            if name.endswith(".sources"):
                for paragraph in Deb822.iter_paragraphs(_text(place, name), use_apt_pkg=False):
                    if suites := paragraph.get("Suites", "").split():
                        return _release(suites[0])
    return code_name(base)


def _release(suite: str) -> str:
    """bookworm-security, and buster/updates as that was once called, are their release's."""
    return re.split("[-/]", suite)[0]


def _text(place: int, name: str) -> str:
    return hostile_tree.read(place, name, SOURCES_LIMIT).decode(errors="replace")


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
