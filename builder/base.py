"""Bases: the clean Debian trees that sessions stand on."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from builder import apt, foreign
from builder.log import Problem

# fakeroot is what dpkg-buildpackage becomes root with; having it here saves installing it in every session.
INCLUDED = ("fakeroot",)


@dataclass(frozen=True)
class BaseOptions:
    """What `cowbuild create` is asked for."""

    suite: str
    architecture: str | None = None
    variant: str = "buildd"
    include: tuple[str, ...] = ()
    components: tuple[str, ...] = ("main",)
    mirror: str | None = None
    keyring: Path = apt.KEYRING


def check_free(target: Path) -> None:
    """Problem unless a new base can get the name `target`."""
    if target.is_symlink() or target.exists():
        raise Problem(f"{target} exists already", "A base is made whole and under a new name.")
    if not target.parent.is_dir():
        raise Problem(f"{target.parent} is not a directory")


def create(options: BaseOptions, directory: Path) -> Path:
    """Make a base with mmdebstrap in the private `directory`; return the tree, to be renamed to its place.

    Problem when mmdebstrap is missing or fails.
    """
    if not options.keyring.exists():
        raise Problem(f"The keyring {options.keyring} is missing", "apt-get install debian-archive-keyring")
    lines = apt.sources(options.suite, mirror=options.mirror, components=options.components)
    made = directory / "base"
    command: list[str | Path] = [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        f"--variant={options.variant}",
        f"--include={','.join((*INCLUDED, *options.include))}",
        f"--keyring={options.keyring}",
        '--aptopt=Acquire::Languages "none"',
        "--skip=cleanup/apt/lists",
        options.suite,
        made,
        *lines,
    ]
    if options.architecture is not None:
        foreign.enable(options.architecture)
        # Its own check asks for one more package, arch-test, to find what has just been done.
        command[1:1] = [f"--architectures={options.architecture}", "--skip=check/qemu"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise Problem("mmdebstrap is missing", "apt-get install mmdebstrap") from None
    if done.returncode != 0:
        raise Problem(f"mmdebstrap failed with exit code {done.returncode}", "Its own messages are above.")
    return made


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
