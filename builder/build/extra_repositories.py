"""What a session gets besides its base: packages of the user's, repositories and their keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from builder import hostile_tree
from builder.debian import apt
from builder.problems import Misuse, Problem
from builder.session.session import Session

if TYPE_CHECKING:  # python-debian would be felt by whatever only checks a build
    from debian.deb822 import Deb822

PACKAGES = "var/lib/cowbuild/packages"
TAKEN = "--extra-package takes .deb files, or a directory with them."
SOURCES = "etc/apt/sources.list.d"
KEYS = "etc/apt/keyrings"

# sources.list(5), deb822 style: a text with fields, or the name of a file of such.
FILE = ".sources"
FIELDS_LIMIT = 1024 * 1024
"""Bytes of such a file."""
FORMS = """\
--extra-repository 'deb [OPTIONS] URI SUITE COMPONENT...'
--extra-repository FILE.sources, with the fields Types, URIs, Suites, Components"""

# One-line style.
LINE = re.compile(r"(?P<kind>deb(-src)?)[ \t]+(\[(?P<options>[^]\n]*)\][ \t]*)?(?P<rest>\S+[ \t]+\S[^\n]*)")

URI = re.compile(r"[a-z][a-z0-9+.-]*:.")

# Armored, or a packet of a public key in the old or the new format (RFC 9580, 4.2).
KEY = re.compile(rb"\s*-----BEGIN PGP PUBLIC KEY BLOCK-----|[\x98-\x9a\xc6]")

# dpkg-scanpackages is dpkg-dev's, which every base that can build has.
INDEX = f"""
set -e
cd /{PACKAGES}
dpkg-scanpackages --multiversion . > Packages 2>/dev/null
echo 'deb [trusted=yes] file:///{PACKAGES} ./' > /{SOURCES}/cowbuild-packages.list
"""


def check_repositories(entries: Sequence[str], keys: Sequence[Path]) -> None:
    """Misuse where an entry is none of sources.list, or keys are given and nothing that they could be for."""
    for entry in entries:
        if _has_fields(entry):
            _paragraphs(entry)
        elif not _is_source(entry):
            raise Misuse(f"{entry!r} is no line of sources.list", FORMS)
    if keys and not entries:
        raise Misuse("There is a key, and no repository for it", FORMS)


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
        and URI.match(uri) is not None
        and bool(components) != suite.endswith("/")
    )


def _has_fields(entry: str) -> bool:
    """Whether it is in deb822 style, by itself or in a file."""
    return entry.endswith(FILE) or re.match(r"\s*(#[^\n]*\n\s*)*[A-Za-z][A-Za-z-]*:(?!//)", entry) is not None


def _paragraphs(entry: str) -> list[Deb822]:
    """Its paragraphs, of which each names repositories as apt wants it. Misuse."""
    from debian.deb822 import Deb822

    named, text = "The repository", entry.encode(errors="surrogateescape")
    if entry.endswith(FILE):
        named = entry
        try:
            with hostile_tree.regular_file(Path(entry).expanduser()) as file:
                text = file.read(FIELDS_LIMIT + 1)
        except (OSError, RuntimeError) as error:  # a home that nobody has
            raise Misuse(f"Cannot read {entry}: {getattr(error, 'strerror', None) or error}", FORMS) from None
    if len(text) > FIELDS_LIMIT or b"\0" in text:
        raise Misuse(f"{named} is no list of repositories", FORMS)
    try:
        found = [each for each in Deb822.iter_paragraphs(text.decode().splitlines()) if each]
    except (ValueError, EOFError):
        found = []
    if not found:
        raise Misuse(f"{named} is no list of repositories: it has no fields", FORMS)
    for each in found:
        if why := _lacks(each):
            raise Misuse(f"{named} is no list of repositories: {why}", FORMS)
    return found


def _lacks(fields: Mapping[str, str]) -> str:
    """What apt would refuse in a paragraph."""
    for name in ("Types", "URIs", "Suites"):
        if not fields.get(name, "").split():
            return f"it has no {name}"
    if wrong := [each for each in fields["Types"].split() if each not in ("deb", "deb-src")]:
        return f"Types are deb and deb-src, not {wrong[0]!r}"
    if wrong := [each for each in fields["URIs"].split() if not URI.match(each)]:
        return f"{wrong[0]!r} in URIs has no scheme"
    exact = {suite.endswith("/") for suite in fields["Suites"].split()}
    if exact != {not fields.get("Components", "").split()}:
        return "it needs Components, but for Suites that end with a slash"
    return ""


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise Misuse(f"Cannot read {path}: {error.strerror}") from None


def add_repositories(session: Session, entries: Sequence[str], keys: Sequence[Path]) -> None:
    """Add entries of sources.list, and the keys that may sign what they name, besides Debian's own.

    The keys are of no use for the base's archives. Problem for a key that cannot be read.
    """
    lines = [entry for entry in entries if not _has_fields(entry)]
    paragraphs = [each for entry in entries if _has_fields(entry) for each in _paragraphs(entry)]
    session.network.reach("\n".join([*lines, *(each["URIs"] for each in paragraphs)]))
    session.run("mkdir", "-p", f"/{KEYS}", f"/{SOURCES}")
    names = [_add_key(session, key, str(number)) for number, key in enumerate(keys)]
    signers = [apt.KEYRING.as_posix(), *names] if names else []
    for number, each in enumerate(paragraphs):
        _let_sign(session, each, signers, number)
    texts = {
        "cowbuild-extra.list": "".join(f"{_signed_by(line, signers)}\n" for line in lines),
        "cowbuild-extra.sources": "\n".join(str(each) for each in paragraphs),
    }
    try:
        with hostile_tree.directory(session.root, SOURCES) as place:
            for name, text in texts.items():
                if text:
                    hostile_tree.write(place, name, text.encode())
    except OSError as error:
        raise Problem(f"Cannot write /{SOURCES} of the session: {error}") from None


def _add_key(session: Session, key: Path, name: str) -> str:
    """Put a key into the session, and say where it is there. Problem."""
    try:
        with hostile_tree.directory(session.root, KEYS) as place:
            # apt tells armored from binary keys by the name.
            name = f"cowbuild-{name}.{'asc' if key.read_bytes().startswith(b'-----BEGIN PGP') else 'gpg'}"
            hostile_tree.copy_in(key, place, name)
    except OSError as error:
        raise Problem(f"Cannot read the key {key}: {error.strerror}") from None
    return f"/{KEYS}/{name}"


def _let_sign(session: Session, fields: Deb822, signers: Sequence[str], number: int) -> None:
    """Say in a paragraph whose signatures count, where it does not; keyrings of the machine come along."""
    said = fields.get("Signed-By")
    if said is None:
        if signers and "Trusted" not in fields:
            fields["Signed-By"] = ", ".join(signers)
        return
    words = [] if "-----BEGIN" in said else said.replace(",", " ").split()
    for at, word in enumerate(words):
        if word.startswith("/") and not _is_there(session, word) and Path(word).is_file():
            words[at] = _add_key(session, Path(word), f"{number}-{at}")
    if words:
        fields["Signed-By"] = ", ".join(words)


def _is_there(session: Session, path: str) -> bool:
    place, _, name = path.strip("/").rpartition("/")
    try:
        with hostile_tree.directory(session.root, place) as opened:
            return name in hostile_tree.names(opened)
    except OSError:
        return False


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
