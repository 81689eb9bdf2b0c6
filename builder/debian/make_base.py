"""Making a base with mmdebstrap."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from builder.debian import apt, architectures
from builder.log import Misuse
from builder.problems import Problem

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
        raise Misuse(f"{target.parent} is not a directory")


def create(options: BaseOptions, directory: Path) -> Path:
    """Make a base with mmdebstrap in the private `directory`; return the tree, to be renamed to its place.

    Problem when mmdebstrap is missing or fails.
    """
    lines = apt.sources(options.suite, mirror=options.mirror, components=options.components)
    architecture = options.architecture or architectures.machine()
    apt.check_suite(options.suite, lines, architecture, options.components, options.keyring, directory / "release")
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
        architectures.enable(options.architecture)
        # Its own check asks for one more package, arch-test, to find what has just been done.
        command[1:1] = [f"--architectures={options.architecture}", "--skip=check/qemu"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    except FileNotFoundError:
        raise Problem("mmdebstrap is missing", "apt-get install mmdebstrap") from None
    if done.returncode != 0:
        raise Problem(f"mmdebstrap failed with exit code {done.returncode}", "Its own messages are above.")
    return made
