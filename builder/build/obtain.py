"""From what the user names to a .dsc: a file, an unpacked source tree, or a package of the archive."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.debian import apt
from builder.debian.dsc import SOURCE_NAME, VERSION, fetch, read
from builder.problems import Misuse, Problem, Unobtainable
from builder.process import output
from builder.session.session import mounted
from builder.session.supervisor import PREFIX, default_parent, interruptible

FROM_ARCHIVE = re.compile(rf"({SOURCE_NAME.pattern})(?:_({VERSION.pattern}))?")

# What people take for a source package -> what to say of it.
OTHER_FILES = {
    ".changes": "says what a build made",
    ".buildinfo": "says how a package was built",
    ".deb": "is a built package",
    ".udeb": "is a built package",
    ".tar": "is an archive of files",
    ".zip": "is an archive of files",
    ".diff": "is a part of a source package",
    ".asc": "is a signature",
    ".build": "is the log of a build",
}


def is_tree(path: Path) -> bool:
    return (path / "debian/changelog").is_file()


def output_of(what: str) -> Path:
    """Where the artifacts go where nothing else is said: here; a tree's to its parent, not to be part of it."""
    path = Path(what)
    return path.resolve().parent if not path.is_file() and is_tree(path) else Path.cwd()


def check_package(what: str) -> None:
    """Misuse when this can be no source package; Unobtainable for a .dsc that is not there."""
    path = Path(what)
    if what and (path.is_file() or is_tree(path)):
        if path.is_file() and path.suffix != ".dsc":
            raise Misuse(f"{what} is not a source package's .dsc: it {_is(path)}", _hint(path))
        return
    if what and path.is_dir():
        raise Misuse(f"{path.absolute()} is no source tree: there is no debian/changelog in it")
    if what and path.exists():
        raise Misuse(f"{what} is neither a file nor a source tree")
    if what.endswith(".dsc") or "/" in what:
        raise Unobtainable(f"There is no file {what}")
    if not FROM_ARCHIVE.fullmatch(what) or _other(Path(what)):
        raise Misuse(f"{what!r} is neither a .dsc file, a source tree nor the name of a source package")


def _other(path: Path) -> str | None:
    suffix = next((each for each in reversed(path.suffixes) if each in OTHER_FILES), "")
    return OTHER_FILES.get(suffix)


def _is(path: Path) -> str:
    return _other(path) or "has another name"


def _hint(path: Path) -> str:
    """The .dsc files that are beside it, of the same source package where that can be told."""
    beside = sorted(path.parent.glob("*.dsc"))
    package = path.name.partition("_")[0]
    found = [each for each in beside if each.name.partition("_")[0] == package] or beside
    return f"Give its .dsc{': ' + ' or '.join(map(str, found[:3])) if found else ''}"


def dsc(
    what: str,
    directory: Path,
    suite: str,
    *,
    source_options: Sequence[str] = (),
    mirror: str | None = None,
    lists: Path | None = None,
) -> Path:
    """The .dsc, made or fetched in `directory` where it is not a file already. Unobtainable when that fails.

    `lists`: where the archive's lists are that were fetched before.
    """
    path = Path(what)
    if path.is_file():
        return path.absolute()
    directory.mkdir()
    try:
        if is_tree(path):
            return _of_tree(path.resolve(), directory, source_options)
        parts = FROM_ARCHIVE.fullmatch(what)
        if parts is None:
            raise Unobtainable(f"There is no source package {what}")
        return apt.download_source(parts[1], parts[2], suite, directory, mirror, lists=lists)
    except Problem as problem:
        raise Unobtainable(str(problem), problem.hint) from None


def check_obtainable(what: str, suite: str, *, source_options: Sequence[str] = ()) -> None:
    """Problem where a build would have one with its source, found out by getting it; nothing is left of it.

    Interrupted at a signal.
    """
    with interruptible(), tempfile.TemporaryDirectory(prefix=PREFIX, dir=default_parent()) as place:
        copied = Path(place) / "copied"
        copied.mkdir()
        # A mirror may have the .dsc and lack a file that it lists.
        found = dsc(what, Path(place) / "given", suite, source_options=source_options)
        fetch(read(found), copied)


def _of_tree(tree: Path, directory: Path, source_options: Sequence[str]) -> Path:
    """dpkg-source looks for the upstream tarball in its working directory, where users have it beside the tree.

    It works on a copy-on-write view of the tree: it applies patches, and stops half-way where one fails.
    """
    if directory.is_relative_to(tree):
        raise Problem(f"{directory.parent} is in the source tree, and would become a part of it", "Set TMPDIR.")
    if shutil.which("dpkg-source") is None:
        raise Problem("dpkg-source is missing", "apt-get install dpkg-dev")
    package, version = _newest_entry(tree)
    for tarball in tree.parent.glob(f"{package}_{version}.orig*.tar.*"):
        (directory / tarball.name).symlink_to(tarball)
    with _throw_away_view(tree, directory):
        try:
            output(["dpkg-source", *source_options, "-b", tree], directory=directory)
        except Problem as problem:
            raise Problem(f"No source package can be made of {tree}", problem.hint) from None
    [found] = directory.glob("*.dsc")
    return found


def _newest_entry(tree: Path) -> tuple[str, str]:
    """Source package and upstream version. Problem where the changelog does not tell."""
    # python-debian's start would be felt where only names are checked.
    from debian.deb822 import Deb822

    changelog = tree / "debian/changelog"
    fields = Deb822(output(["dpkg-parsechangelog", "--file", changelog]))
    package, version = fields.get("Source", ""), fields.get("Version", "")
    if not SOURCE_NAME.fullmatch(package) or not VERSION.fullmatch(version):
        raise Problem(f"{changelog} has no entry that names a package and a version", "dpkg-parsechangelog reads it.")
    without_epoch = version.partition(":")[2] or version
    return package, without_epoch.rpartition("-")[0] or without_epoch


@contextmanager
def _throw_away_view(tree: Path, directory: Path) -> Iterator[None]:
    """What is written to the tree in this mount namespace is gone afterwards; nobody outside sees it."""
    place = directory / "view"
    place.mkdir()
    with mounted([tree], place) as mount:
        output(["mount", "-n", "--bind", mount.root, tree])
        try:
            yield
        finally:
            subprocess.run(["umount", "-n", "--lazy", tree], check=False)
