"""From what the user names to a .dsc: a file, an unpacked source tree, or a package of the archive."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from debian.changelog import Changelog

from builder.debian import apt
from builder.debian.dsc import SOURCE_NAME, VERSION, fetch, read
from builder.problems import Problem
from builder.session.supervisor import PREFIX, default_parent, interruptible

FROM_ARCHIVE = re.compile(rf"({SOURCE_NAME.pattern})(?:_({VERSION.pattern}))?")


def is_tree(path: Path) -> bool:
    return (path / "debian/changelog").is_file()


def check_package(what: str) -> None:
    """Problem when this is neither a .dsc, nor a source tree, nor can be a package's name."""
    path = Path(what)
    if path.is_file() or is_tree(path):
        return
    if path.is_dir():
        raise Problem(f"{path.absolute()} is no source tree: there is no debian/changelog in it")
    if what.endswith(".dsc") or "/" in what:
        raise Problem(f"There is no file {what}")
    if not FROM_ARCHIVE.fullmatch(what):
        raise Problem(f"{what!r} is neither a .dsc file, a source tree nor the name of a source package")


def dsc(
    what: str, directory: Path, suite: str, *, source_options: Sequence[str] = (), mirror: str | None = None
) -> Path:
    """The .dsc, made or fetched in `directory` where it is not a file already. Problem when that fails."""
    path = Path(what)
    if path.is_file():
        return path.absolute()
    directory.mkdir()
    if is_tree(path):
        return _of_tree(path.absolute(), directory, source_options)
    parts = FROM_ARCHIVE.fullmatch(what)
    if parts is None:
        raise Problem(f"There is no source package {what}")
    return apt.download_source(parts[1], parts[2], suite, directory, mirror)


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
    """dpkg-source looks for the upstream tarball in its working directory, where users have it beside the tree."""
    changelog = Changelog((tree / "debian/changelog").read_text(errors="replace"), max_blocks=1)
    for tarball in tree.parent.glob(f"{changelog.package}_{changelog.upstream_version}.orig*.tar.*"):
        (directory / tarball.name).symlink_to(tarball)
    try:
        made = subprocess.run(
            ["dpkg-source", *source_options, "-b", tree],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise Problem("dpkg-source is missing", "apt-get install dpkg-dev") from None
    found = list(directory.glob("*.dsc"))
    if made.returncode != 0 or len(found) != 1:
        raise Problem(f"No source package can be made of {tree}", made.stderr.strip())
    return found[0]
