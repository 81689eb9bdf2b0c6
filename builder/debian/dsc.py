"""Source packages: the .dsc file, whom it is signed by, and the files it lists."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Changes, Dsc, GpgInfo

from builder.problems import Problem

# Debian Policy 5.6.1 and 5.6.12. A name made of these is safe in a path and in a log.
SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
VERSION = re.compile(r"(?:[0-9]+:)?[0-9A-Za-z.+~-]+")
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.~_:=@%,-]*")

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
        text = dsc.read_bytes()
    except OSError as error:
        raise Problem(f"Cannot read {dsc}: {error.strerror}") from None
    signature = _check_signature(dsc, text)
    try:
        fields = Dsc(decoded(text))
        name, version, architectures = fields["Source"], fields["Version"], fields["Architecture"]
    except (KeyError, ValueError) as error:
        raise Problem(f"{dsc} is not a .dsc file: no field {error}") from None
    if not SOURCE_NAME.fullmatch(name) or not VERSION.fullmatch(version):
        raise Problem(f"{dsc} gives a source name or version that Debian Policy does not allow: {name} {version}")
    return SourcePackage(
        dsc=dsc.absolute(),
        name=name,
        version=version,
        architectures=tuple(architectures.split()),
        relations={field: fields[field] for field in RELATIONS if field in fields},
        files=listed_files(fields, dsc.name),
        signature=signature,
    )


def decoded(text: bytes) -> str:
    """Text of a .dsc or .changes; dpkg takes what is not UTF-8, too: names of people in old packages."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def listed_files(fields: Dsc | Changes, where: str) -> tuple[ListedFile, ...]:
    """The files of a parsed .dsc or .changes; each has a plain name and a SHA-256, else Problem. `where` names it."""
    strong = {entry["name"]: entry for entry in fields.get("Checksums-Sha256", [])}
    listed = []
    for entry in fields.get("Files", []):
        name = entry["name"]
        if not FILE_NAME.fullmatch(name):
            raise Problem(f"{where} lists a file with a forbidden name: {name!r}", "A listed file is a plain name.")
        if name not in strong:
            raise Problem(f"{where} gives no SHA-256 checksum for {name}")
        try:
            size = int(strong[name]["size"])
        except ValueError:
            raise Problem(f"{where} gives no size for {name}") from None
        listed.append(ListedFile(name, size, strong[name]["sha256"].lower()))
    if not listed:
        raise Problem(f"{where} lists no files")
    return tuple(listed)


def fetch(source: SourcePackage, target: Path) -> None:
    """Copy the .dsc and its files into `target`, and check the copies: what is used later is what was checked.

    Problem when a file is missing or is not what the .dsc says.
    """
    shutil.copyfile(source.dsc, target / source.dsc.name)
    for listed in source.files:
        try:
            shutil.copyfile(source.dsc.parent / listed.name, target / listed.name)
        except OSError as error:
            raise Problem(f"{source.dsc.name} lists {listed.name}: {error.strerror}") from None
        with (target / listed.name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        if size != listed.size or digest != listed.sha256:
            raise Problem(f"{listed.name} is not the file that {source.dsc.name} lists: its checksum or size is wrong")


def _check_signature(dsc: Path, text: bytes) -> str:
    """Say in words who signed it. Problem when there is a signature and it is wrong."""
    if b"-----BEGIN PGP SIGNED MESSAGE-----" not in text:
        return "not signed"
    keyrings = [str(keyring) for keyring in KEYRINGS if keyring.exists()]
    if not keyrings:
        return "signed, not checked: no keyring of Debian's developers here (package debian-keyring)"
    status = GpgInfo.from_sequence(text, keyrings)
    if "BADSIG" in status:
        raise Problem(f"The signature of {dsc} is wrong", "The file was changed after it had been signed.")
    if "GOODSIG" in status:
        return f"signed by {' '.join(status['GOODSIG'][1:])}"
    return "signed by a key that is in none of Debian's keyrings here"
