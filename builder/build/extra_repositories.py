"""What a session gets besides its base: packages of the user's, repositories and their keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from builder import hostile_tree
from builder.debian import apt
from builder.problems import Misuse, Problem
from builder.session.session import Session

PACKAGES = "var/lib/cowbuild/packages"
TAKEN = "--extra-package takes .deb files, or a directory with them."
SOURCES = "etc/apt/sources.list.d"
KEYS = "etc/apt/keyrings"

# sources.list(5), one-line style.
LINE = re.compile(r"(?P<kind>deb(-src)?)[ \t]+(\[(?P<options>[^]\n]*)\][ \t]*)?(?P<rest>\S+[ \t]+\S[^\n]*)")

# Armored, or a packet of a public key in the old or the new format (RFC 9580, 4.2).
KEY = re.compile(rb"\s*-----BEGIN PGP PUBLIC KEY BLOCK-----|[\x98-\x9a\xc6]")

# dpkg-scanpackages is dpkg-dev's, which every base that can build has.
INDEX = f"""
set -e
cd /{PACKAGES}
dpkg-scanpackages --multiversion . > Packages 2>/dev/null
echo 'deb [trusted=yes] file:///{PACKAGES} ./' > /{SOURCES}/cowbuild-packages.list
"""


def check_repositories(lines: Sequence[str], keys: Sequence[Path]) -> None:
    """Misuse where a line is none of sources.list, or keys are given and nothing that they could be for."""
    for line in lines:
        if not _is_source(line):
            raise Misuse(
                f"{line!r} is no line of sources.list", "--extra-repository 'deb [OPTIONS] URI SUITE COMPONENT...'"
            )
    if keys and not lines:
        raise Misuse("There is a key, and no repository for it", "--extra-repository LINE")


def check_files(keys: Sequence[Path], packages: Sequence[Path]) -> None:
    """Misuse where one of them is no key, or no package nor a directory with packages."""
    for key in keys:
        if not KEY.match(_beginning(key)):
            raise Misuse(f"{key} is no OpenPGP public key", "`gpg --export KEYID` makes one.")
    for package in packages:
        if package.is_dir():
            if not list(package.glob("*.deb")):
                raise Misuse(f"There is no package in {package}", TAKEN)
        elif package.suffix != ".deb" or not _beginning(package).startswith(b"!<arch>\n"):
            raise Misuse(f"{package} is no Debian package", TAKEN)


def _is_source(line: str) -> bool:
    """As apt reads it: options with values, an address with a scheme, components unless the suite ends with a slash."""
    found = LINE.fullmatch(line)
    if found is None:
        return False
    uri, suite, *components = found["rest"].partition("#")[0].split() or ["", ""]
    options = (found["options"] or "").split()
    return (
        all("=" in option for option in options)
        and re.match(r"[a-z][a-z0-9+.-]*:.", uri) is not None
        and bool(components) != suite.endswith("/")
    )


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise Misuse(f"Cannot read {path}: {error.strerror}") from None


def add_repositories(session: Session, lines: Sequence[str], keys: Sequence[Path]) -> None:
    """Add lines of sources.list, and the keys that may sign what they name, besides Debian's own.

    The keys are of no use for the base's archives. Problem for a key that cannot be read.
    """
    session.network.reach("\n".join(lines))
    session.run("mkdir", "-p", f"/{KEYS}")
    names = []
    with hostile_tree.directory(session.root, KEYS) as place:
        for number, key in enumerate(keys):
            # apt tells armored from binary keys by the name.
            try:
                armored = key.read_bytes().startswith(b"-----BEGIN PGP")
                names.append(f"cowbuild-{number}.{'asc' if armored else 'gpg'}")
                hostile_tree.copy_in(key, place, names[-1])
            except OSError as error:
                raise Problem(f"Cannot read the key {key}: {error.strerror}") from None
    signers = [apt.KEYRING.as_posix(), *(f"/{KEYS}/{name}" for name in names)] if names else []
    written = [_signed_by(line, signers) for line in lines]
    session.run("sh", "-c", f'printf "%s\\n" "$@" > /{SOURCES}/cowbuild-extra.list', "sources", *written)


def _signed_by(line: str, signers: Sequence[str]) -> str:
    """The line with these keyrings, unless there are none or it says itself what is to be believed."""
    found = LINE.fullmatch(line)
    assert found is not None
    kind, options, rest = found["kind"], found["options"] or "", found["rest"]
    if not signers or "signed-by=" in options.lower() or "trusted=" in options.lower():
        return line
    return f"{kind} [{' '.join([*options.split(), 'signed-by=' + ','.join(signers)])}] {rest}"


def add_packages(session: Session, paths: Sequence[Path]) -> None:
    """Make .deb files, and those in directories, known to apt in the session. Problem when there are none."""
    packages = [found for path in paths for found in (sorted(path.glob("*.deb")) if path.is_dir() else [path])]
    if not packages:
        raise Problem("No package is in " + ", ".join(map(str, paths)))
    session.run("mkdir", "-p", f"/{PACKAGES}")
    with hostile_tree.directory(session.root, PACKAGES) as place:
        for package in packages:
            try:
                hostile_tree.copy_in(package, place, package.name)
            except OSError as error:
                raise Problem(f"Cannot take the package {package}: {error.strerror}") from None
    session.run("sh", "-c", INDEX)
    # This list alone, so that it works without the network.
    session.apt_get(
        "update",
        *("-o", f"Dir::Etc::sourcelist=/{SOURCES}/cowbuild-packages.list"),
        *("-o", "Dir::Etc::sourceparts=/nonexistent"),
        *("-o", "APT::Get::List-Cleanup=0"),
    )
