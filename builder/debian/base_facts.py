"""Bases: the clean Debian trees that sessions stand on."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from builder import hostile_tree, private
from builder.debian import dpkg_database
from builder.debian.dsc import ARCHITECTURE
from builder.problems import Misuse, Problem

ONE_LINE_SOURCE = re.compile(r"\s*deb\s+(?:\[[^]]*\]\s*)?\S+\s+(?P<suite>\S+)")
SOURCES_LIMIT = 1024 * 1024
"""Bytes that a file of apt's sources may have."""


def check_ours(base: Path) -> None:
    """Problem when the base's root is not root in our eyes: its files could then be neither read nor copied right.

    Where others could enter it, that is said.
    """
    try:
        owner = (base / "usr").lstat().st_uid
    except OSError as error:
        told = f"{base} is not a Debian base: usr in it: {error.strerror}"
        raise Misuse(told, "Make one: cowbuild create DIRECTORY --suite SUITE") from None
    if owner != os.geteuid():
        raise Problem(f"The base {base} was made by another user", "Make one of your own with cowbuild create.")
    private.tell_of(base)


def architecture(base: Path) -> str:
    """The Debian architecture of the base, as its dpkg was built for. Problem when it is no Debian tree."""
    with suppress(OSError):
        status = b"\n" + _read(base, "var/lib/dpkg", "status") + b"\n"
        # Of megabytes, one paragraph is wanted.
        if found := re.search(rb"\nPackage: dpkg *\n(?:.+\n)*", status):
            said = re.search(rb"\nArchitecture: ([a-z0-9][a-z0-9-]*) *\n", found[0])
            if said:
                return said[1].decode()
    raise Misuse(f"{base} is not a Debian base", "Make one: cowbuild create DIRECTORY --suite SUITE")


def foreign_architectures(base: Path) -> list[str]:
    """The other architectures whose packages the base's dpkg installs, too."""
    try:
        known = _read(base, "var/lib/dpkg", "arch").decode(errors="replace").split()
    except OSError:
        return []
    own = architecture(base)
    return [each for each in known if each != own and ARCHITECTURE.fullmatch(each)]


def suite(base: Path) -> str:
    """The suite that the base's apt takes packages from, by the first of its sources; else the base's `code_name`.

    Only that tells unstable from testing.
    """
    with suppress(OSError, ValueError), hostile_tree.directory(base, "etc/apt") as place:
        for line in _text(place, "sources.list").splitlines():
            if found := ONE_LINE_SOURCE.match(line):
                return _release(found["suite"])
    # python-debian's start would be felt, and few bases need it.
    from debian.deb822 import Deb822

    with suppress(OSError, ValueError), hostile_tree.directory(base, "etc/apt/sources.list.d") as place:
        for name in hostile_tree.names(place):
            if name.endswith(".sources"):
                for paragraph in Deb822.iter_paragraphs(_text(place, name), use_apt_pkg=False):
                    if suites := paragraph.get("Suites", "").split():
                        return _release(suites[0])
    return code_name(base)


def lists_asked(base: Path) -> float | None:
    """When the archives were last asked for the lists that the base's apt has, in seconds since 1970. None: never.

    Files of lists have the archive's times; where they arrive is changed each time that one is asked.
    """
    with suppress(OSError), hostile_tree.directory(base.resolve(), "var/lib/apt/lists") as place:
        if any("_Packages" in name for name in hostile_tree.names(place)):
            return os.stat("partial", dir_fd=place, follow_symlinks=False).st_mtime
    return None


def _release(suite: str) -> str:
    """bookworm-security, and buster/updates as that was once called, are their release's."""
    return re.split("[-/]", suite)[0]


def _text(place: int, name: str) -> str:
    return hostile_tree.read(place, name, SOURCES_LIMIT).decode(errors="replace")


def code_name(base: Path) -> str:
    """The release the base holds, as its os-release says, else 'unknown'."""
    try:
        text = _read(base, "usr/lib", "os-release").decode(errors="replace")
    except OSError:
        return "unknown"
    # testing and unstable leave the field out at times.
    found = re.search(r"""^VERSION_CODENAME=(["']?)([A-Za-z0-9][A-Za-z0-9+._-]*)\1[ \t]*$""", text, re.MULTILINE)
    return found[2] if found else "unknown"


def _read(base: Path, directory: str, name: str) -> bytes:
    """A file of a base, which packages of any kind had their hands in. OSError for anything but a regular file."""
    with hostile_tree.directory(base.resolve(), directory) as place:
        return hostile_tree.read(place, name, dpkg_database.LIMIT)
