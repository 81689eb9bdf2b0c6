"""Source packages: the .dsc file, whom it is signed by, and the files it lists."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder import hostile_tree
from builder.problems import Problem, printable

TEXT_LIMIT = 16 * 1024 * 1024
"""Bytes of a .dsc or .changes. They are text of some kilobytes; who makes a larger one is up to something."""

# Debian Policy 5.6.1 and 5.6.12. A name made of these is safe in a path and in a log.
SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
VERSION = re.compile(r"(?:[0-9]+:)?[0-9A-Za-z.+~-]+")
ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]*")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.~_:=@%,-]*")
NAME_LIMIT = 200
"""Characters of a listed file's name: file systems take 255, and what is made of it has some more."""
CHECKSUM_LINE = re.compile(r"(?P<sha256>[0-9A-Fa-f]{64})\s+(?P<size>[0-9]{1,18})\s+(?P<name>\S+)", re.ASCII)

KEYRINGS = (
    Path("/usr/share/keyrings/debian-keyring.gpg"),
    Path("/usr/share/keyrings/debian-maintainers.gpg"),
    Path("/usr/share/keyrings/debian-nonupload.gpg"),
)

RELATIONS = tuple(f"Build-{kind}{part}" for kind in ("Depends", "Conflicts") for part in ("", "-Arch", "-Indep"))


@dataclass(frozen=True)
class ListedFile:
    """A file as a .dsc or .changes lists it."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class SourcePackage:
    dsc: Path
    name: str
    version: str
    architectures: tuple[str, ...]
    relations: dict[str, str]
    files: tuple[ListedFile, ...]
    signature: str
    binaries: tuple[str, ...] = ()
    """Names of the packages that it makes."""

    @property
    def version_without_epoch(self) -> str:
        return self.version.partition(":")[2] or self.version

    @property
    def directory_name(self) -> str:
        """What dpkg-source unpacks it to by itself: name and upstream version."""
        upstream, hyphen, _revision = self.version_without_epoch.rpartition("-")
        return f"{self.name}-{upstream if hyphen else self.version_without_epoch}"

    @property
    def size(self) -> int:
        """Bytes of all listed files."""
        return sum(file.size for file in self.files)


def read(dsc: Path) -> SourcePackage:
    """Read a .dsc file. Problem when it is not one, names what it must not, or its signature is wrong."""
    try:
        with hostile_tree.regular_file(dsc) as file:
            text = file.read(TEXT_LIMIT + 1)
    except OSError as error:
        raise Problem(f"Cannot read {dsc}: {error.strerror or error}") from None
    if len(text) > TEXT_LIMIT:
        raise Problem(f"{dsc} is not a .dsc file: it has more than {TEXT_LIMIT} bytes")
    signature = check_signature(dsc, text)
    said = fields(text, dsc.name)
    for needed in ("Source", "Version", "Architecture"):
        if needed not in said:
            raise Problem(f"{dsc} is not a .dsc file: it has no field {needed}")
    name, version, architectures = said["Source"], said["Version"], said["Architecture"].split()
    if not SOURCE_NAME.fullmatch(name) or not VERSION.fullmatch(version):
        raise Problem(f"{dsc} gives a source name or version that Debian Policy does not allow: {name} {version}")
    if not architectures or not all(ARCHITECTURE.fullmatch(each) for each in architectures):
        raise Problem(f"{dsc} gives an Architecture that Debian Policy does not allow: {' '.join(architectures)}")
    return SourcePackage(
        dsc=dsc.absolute(),
        name=name,
        version=version,
        architectures=tuple(architectures),
        relations={field: said[field] for field in RELATIONS if field in said},
        files=listed_files(said, dsc.name),
        signature=signature,
        binaries=tuple(said.get("Binary", "").replace(",", " ").split()),
    )


def decoded(text: bytes) -> str:
    """Text of a .dsc or .changes; dpkg takes what is not UTF-8, too: names of people in old packages."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def fields(text: bytes, where: str) -> Mapping[str, str]:
    """The fields of a .dsc or .changes, names in any case, without a signature. Problem. `where` names it."""
    # python-debian's start would be felt where only names are checked.
    from debian.deb822 import Deb822

    try:
        # python-debian would guess at what is not UTF-8.
        return Deb822(decoded(text).encode())
    except (ValueError, EOFError):
        raise Problem(f"{where} is not what its name says: it has no fields") from None


def told(dsc: Path) -> list[str]:
    """The fields of a .dsc that was read before, line by line, for a log."""
    return [printable(line) for line in str(fields(dsc.read_bytes(), dsc.name)).splitlines()]


def listed_files(said: Mapping[str, str], where: str) -> tuple[ListedFile, ...]:
    """The files of a .dsc or .changes; each has a plain name and a SHA-256, else Problem. `where` names it."""
    strong = {}
    for line in said.get("Checksums-Sha256", "").splitlines():
        if line.strip():
            if not (found := CHECKSUM_LINE.fullmatch(line.strip())):
                raise Problem(f"{where} has a line in Checksums-Sha256 that is no checksum, size and name: {line:.200}")
            strong[found["name"]] = ListedFile(found["name"], int(found["size"]), found["sha256"].lower())
    listed = []
    for line in said.get("Files", "").splitlines():
        if not line.strip():
            continue
        # .dsc: checksum, size, name; .changes: section and priority before the name.
        words = line.split()
        if len(words) not in (3, 5):
            raise Problem(f"{where} has a line in Files that names no file: {line:.200}")
        name = words[-1]
        if not FILE_NAME.fullmatch(name) or len(name) > NAME_LIMIT:
            raise Problem(f"{where} lists a file with a forbidden name: {name:.300}", "A listed file is a plain name.")
        if name not in strong:
            raise Problem(f"{where} gives no SHA-256 checksum for {name}")
        listed.append(strong[name])
    if not listed:
        raise Problem(f"{where} lists no files")
    return tuple(listed)


def fetch(source: SourcePackage, target: Path) -> None:
    """Copy the .dsc and its files into `target`, and check the copies: what is used later is what was checked.

    Problem when a file is missing or is not what the .dsc says.
    """
    shutil.copyfile(source.dsc, target / source.dsc.name)
    for listed in source.files:
        if (target / listed.name).exists():
            raise Problem(f"{source.dsc.name} lists {listed.name} twice")
        try:
            size, digest = hostile_tree.copy_file(source.dsc.parent / listed.name, target / listed.name, listed.size)
        except OSError as error:
            raise Problem(f"{source.dsc.name} lists {listed.name}: {error.strerror or error}") from None
        if size != listed.size or digest != listed.sha256:
            raise Problem(f"{listed.name} is not the file that {source.dsc.name} lists: its checksum or size is wrong")


def check_signature(dsc: Path, text: bytes) -> str:
    """Say in words who signed it. Problem when there is a signature and it is wrong."""
    begin = b"-----BEGIN PGP SIGNED MESSAGE-----"
    if begin not in text:
        return "not signed"
    # gpgv passes over what stands before, between and after what is signed; it would be read as if it were.
    if not text.lstrip().startswith(begin) or text.count(begin) != 1:
        raise Problem(f"{dsc} has text outside of what is signed in it", "Take the file as its maintainer signed it.")
    keyrings = [str(keyring) for keyring in KEYRINGS if keyring.exists()]
    if not keyrings:
        return "signed, not checked: no keyring of Debian's developers here (sudo apt-get install debian-keyring)"
    from debian.deb822 import GpgInfo

    try:
        status = GpgInfo.from_sequence(text, keyrings)
    except OSError:
        return "signed, not checked: there is no gpgv here (sudo apt-get install gpgv)"
    if "BADSIG" in status:
        raise Problem(f"The signature of {dsc} is wrong", "The file was changed after it had been signed.")
    if "GOODSIG" in status:
        return printable(f"signed by {' '.join(status['GOODSIG'][1:])}")
    return "signed by a key that is in none of Debian's keyrings here"
