"""Which base a build stands on: what sbuild's --chroot, or the distribution, names."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from builder import hostile_tree
from builder.debian import architectures
from builder.problems import Misuse, Problem
from builder.sbuild.variables import Settings
from builder.store import bases

MODES = ("schroot", "sudo", "unshare")

# One suite under several names; sbuild's $chroot_aliases has more where the user wants them.
ALIASES = {"UNRELEASED": "unstable", "sid": "unstable"}
SAME = {"unstable": "sid", "sid": "unstable"}

PREFIXES = ("chroot:", "source:")

# Bases that were made of tarballs, of which a few are kept.
OF_TARBALL = "tarball-"
KEPT = 4


@dataclass(frozen=True)
class Chroot:
    """A base that is there, or how it is made."""

    base: str
    tarball: Path | None = None
    """Of which a base with that name is to be made."""
    suite: str = ""
    """Of which one is to be made, from the archive."""


def find(settings: Settings, distribution: str) -> Chroot:
    """Misuse where what is named is nothing that one could build in."""
    mode = settings["chroot_mode"]
    if mode not in MODES:
        known = "Sessions over bases are what builds are in: --chroot-mode=unshare, or leave it out."
        raise Misuse(f"There is no chroot mode {mode} here", known)
    architecture = settings["build_arch"] or architectures.machine()
    if named := settings["chroot"]:
        return _named(named, distribution, architecture)
    suite = {**ALIASES, **settings["chroot_aliases"]}.get(distribution, distribution)
    for each in (suite, *([SAME[suite]] if suite in SAME else [])):
        for name in (f"{each}-{architecture}-sbuild", f"{each}-sbuild", f"{each}-{architecture}", each):
            if name in bases.names():
                return Chroot(name)
            if (tarball := _cached_tarball(name)) is not None:
                return _of_tarball(tarball)
        fitting = [name for name in bases.fitting(each, architecture) if not name.startswith(OF_TARBALL)]
        if len(fitting) == 1:
            return Chroot(fitting[0])
    return Chroot(f"{suite}-{architecture}", suite=suite)


def _named(named: str, distribution: str, architecture: str) -> Chroot:
    name = named
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    if name in bases.names():
        return Chroot(name)
    path = Path(name).absolute()
    if path.is_dir() and (path / "var/lib/dpkg").exists():
        return Chroot(str(path))
    if path.is_file():
        return _of_tarball(path)
    if (tarball := _cached_tarball(name)) is not None:
        return _of_tarball(tarball)
    make = f"cowbuild create {name} --suite {ALIASES.get(distribution, distribution)} --arch {architecture}"
    hint = f"Bases: {', '.join(bases.names()) or 'none yet'}. Make it: {make}"
    raise Misuse(f"The chroot {named} is neither a base, nor a directory with a Debian system, nor a tarball", hint)


def _cached_tarball(name: str) -> Path | None:
    """Where sbuild's unshare mode has them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME") or "/") / ".cache")
    found = sorted(path for path in (cache / "sbuild").glob(f"{name}.t*") if path.is_file()) if "/" not in name else []
    return found[0] if found else None


def _of_tarball(tarball: Path) -> Chroot:
    """The base with its content, wherever it lies and whatever it is called."""
    try:
        with tarball.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Problem(f"Cannot read the tarball {tarball}: {error.strerror}") from None
    name = _name_of(digest)
    if name in bases.names():
        os.utime(bases.directory(name))
        return Chroot(name)
    return Chroot(name, tarball=tarball)


def _name_of(digest: str) -> str:
    return f"{OF_TARBALL}{digest[:16]}"


def of_copy(tarball: Path, target: Path) -> Chroot:
    """The base of a tarball that is copied to `target`, by what was copied. Problem where it cannot be."""
    try:
        _, digest = hostile_tree.copy_file(tarball, target, sys.maxsize)
    except OSError as error:
        raise Problem(f"Cannot copy the tarball {tarball} to {target.parent}: {error.strerror or error}") from None
    return Chroot(_name_of(digest), tarball=target)


def superfluous() -> list[str]:
    """The bases of tarballs that have gone unused for longest, but for a few; one more is about to be made."""
    made = [name for name in bases.names() if name.startswith(OF_TARBALL)]
    made.sort(key=lambda name: bases.directory(name).stat().st_mtime, reverse=True)
    return made[KEPT - 1 :]
