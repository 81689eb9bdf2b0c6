"""Making a base with mmdebstrap, or of a tarball."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from builder import network
from builder.debian import apt, architectures, base_facts
from builder.problems import Misuse, Problem
from builder.process import output

# fakeroot is what dpkg-buildpackage becomes root with; having it here saves installing it in every session. With passwd
# autopkgtest and sbuild make users and groups; apt brought it until Debian 12.
INCLUDED = ("fakeroot", "passwd")

# dpkg waits for the disk after each package, which takes longest; here once is enough, before the base gets its place.
WAITS_FOR_NO_DISK = (
    "--dpkgopt=force-unsafe-io",
    """--customize-hook=rm "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap" && sync --file-system "$1" """,
)

# mmdebstrap, and what it copies into the base, ask the resolver of the network that they have.
MOUNT_RESOLVER = '[ ! -e /etc/resolv.conf ] || mount -n --bind "$1" /etc/resolv.conf; shift; exec "$@"'
WITH_RESOLVER = ("unshare", "--mount", "--propagation=slave", "--", "sh", "-ec", MOUNT_RESOLVER, "sh")


UNPACK = (
    *("--extract", "--numeric-owner", "--preserve-permissions", "--xattrs", "--xattrs-include=*"),
    *("--anchored", "--exclude=./dev/*", "--exclude=dev/*"),
)


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


def check_keyring(keyring: Path) -> None:
    """Misuse where there is none; Problem where it is Debian's that is missing."""
    if keyring == apt.KEYRING and not keyring.exists():
        raise Problem(f"The keyring {keyring} is missing", "apt-get install debian-archive-keyring")
    if not keyring.is_file():
        raise Misuse(f"There is no keyring {keyring}", "--keyring FILE")


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
        *WAITS_FOR_NO_DISK,
        options.suite,
        made,
        *lines,
    ]
    if options.architecture is not None:
        architectures.enable(options.architecture)
        # Its own check asks for one more package, arch-test, to find what has just been done.
        command[1:1] = [f"--architectures={options.architecture}", "--skip=check/qemu"]
    if shutil.which("mmdebstrap") is None:
        raise Problem("mmdebstrap is missing", "apt-get install mmdebstrap")
    # It asks what its lines say, by the machine's apt and its proxies.
    places = network.places("\n".join(lines)) | network.places_of(Path("/"))
    with network.Network(places) as own:
        own.start(lambda line: print(line, file=sys.stderr, flush=True))
        resolver = directory / "resolv.conf"
        resolver.write_text(own.resolver)
        joined: list[str | Path] = [*own.join(), *WITH_RESOLVER, resolver] if own.join() else []
        done = subprocess.run([*joined, *command], stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise Problem(f"mmdebstrap failed with exit code {done.returncode}", "Its own messages are above.")
    return made


def check_tarball(tarball: Path) -> None:
    """Misuse where there is none that can be read."""
    if not tarball.is_file() or not os.access(tarball, os.R_OK):
        raise Misuse(f"There is no tarball {tarball} that can be read", "--tarball FILE")


def unpack(tarball: Path, directory: Path) -> Path:
    """Make a base of a tarball in the private `directory`; return the tree, to be renamed to its place.

    tar lets nothing in it leave that place. Devices are left out: a session makes its own. Problem when it is none of
    a Debian system.
    """
    made = directory / "base"
    made.mkdir(mode=0o755)
    output(["tar", *UNPACK, "--file", tarball, "--directory", made])
    base_facts.architecture(made)
    return made
