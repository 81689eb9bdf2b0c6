"""What a session gets besides its base: packages of the user's, repositories and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from builder import beneath
from builder.log import Problem
from builder.session import Session

PACKAGES = "var/lib/cowbuild/packages"
SOURCES = "etc/apt/sources.list.d"
KEYS = "etc/apt/trusted.gpg.d"

# dpkg-scanpackages is dpkg-dev's, which every base that can build has.
INDEX = f"""
set -e
cd /{PACKAGES}
dpkg-scanpackages --multiversion . > Packages 2>/dev/null
echo 'deb [trusted=yes] file:///{PACKAGES} ./' > /{SOURCES}/cowbuild-packages.list
"""


def add_repositories(session: Session, lines: Sequence[str], keys: Sequence[Path]) -> None:
    """Add lines of sources.list, and keys that may sign in any repository. Problem for a key that cannot be read."""
    with beneath.directory(session.root, KEYS) as place:
        for number, key in enumerate(keys):
            # apt tells armored from binary keys by the name.
            try:
                armored = key.read_bytes().startswith(b"-----BEGIN PGP")
            except OSError as error:
                raise Problem(f"Cannot read the key {key}: {error.strerror}") from None
            beneath.copy_in(key, place, f"cowbuild-{number}.{'asc' if armored else 'gpg'}")
    if lines:
        session.run("sh", "-c", f'printf "%s\\n" "$@" > /{SOURCES}/cowbuild-extra.list', "sources", *lines)


def add_packages(session: Session, paths: Sequence[Path]) -> None:
    """Make .deb files, and those in directories, known to apt in the session. Problem when there are none."""
    packages = [
        found for path in paths for found in (sorted(path.glob("*.deb")) if path.is_dir() else [path])
    ]
    if not packages:
        raise Problem("No package is in " + ", ".join(map(str, paths)))
    session.run("mkdir", "-p", f"/{PACKAGES}")
    with beneath.directory(session.root, PACKAGES) as place:
        for package in packages:
            try:
                beneath.copy_in(package, place, package.name)
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
