"""The user's directory: what a build may put there, under which names, and what of it may be replaced.

A name is one that dpkg gives to what it makes of this source and version. What has that name already is replaced only
where an earlier build of the same source made it; everything else is the user's, and what is new lies beside it.
"""

from __future__ import annotations

import filecmp
import io
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from builder import hostile_tree
from builder.debian.dsc import TEXT_LIMIT
from builder.problems import Problem

# What cowbuild itself calls its files, which a build's by-hand files must not take the place of.
_OURS = (".build", ".second", ".trace.json", ".trace.html", ".diffoscope.html")


class Names:
    """The names that dpkg gives to what it makes of one source and version."""

    def __init__(self, source: str, version: str) -> None:
        self.source = source
        self.version = version.partition(":")[2] or version
        upstream = self.version.rpartition("-")[0] or self.version
        own, of_upstream = re.escape(f"{source}_{self.version}"), re.escape(f"{source}_{upstream}")
        tar = r"tar\.[a-z0-9]+(\.asc)?"
        # A source makes binary packages of any name, and of other versions (dpkg-gencontrol -v).
        self._package = re.compile(r"[a-z0-9][a-z0-9+.-]*_[0-9A-Za-z.+~-]+_[a-z0-9-]+\.(deb|udeb|ddeb)")
        self._description = re.compile(rf"{own}_[a-z0-9-]+\.(changes|buildinfo)|{own}\.dsc")
        self._source = re.compile(rf"{own}\.((debian\.)?{tar}|diff\.gz|git|gitshallow)")
        self._upstream = re.compile(rf"{of_upstream}\.orig(-[A-Za-z0-9-]+)?\.{tar}")
        # By hand, dpkg-distaddfile: images, installers, translations.
        self._by_hand = re.compile(
            rf"[a-z0-9][a-z0-9+.-]*_{re.escape(self.version)}_[a-z0-9-]+(_[a-z]+)?"
            r"\.(?!(.*\.)?(changes|buildinfo|dsc|u?deb|ddeb)$)[a-z0-9.]+"
        )

    def fits(self, name: str) -> bool:
        kinds = (self._package, self._description, self._source, self._upstream, self._by_hand)
        return any(kind.fullmatch(name) for kind in kinds) and not name.endswith(_OURS)

    def replaceable(self, there: Path, fresh: Path, *, source_built: bool) -> bool:
        """Whether a file of one of these names may be replaced by a fresh one. OSError when it cannot be looked at.

        `source_built`: the user asked for the source package, too.
        """
        status = there.lstat()
        if stat.S_ISLNK(status.st_mode):
            return True  # what it leads to stays as it is
        if not stat.S_ISREG(status.st_mode):
            return False
        if filecmp.cmp(there, fresh, shallow=False):
            return True
        name = there.name
        if self._package.fullmatch(name):
            return _source_of_package(there) == self.source
        if self._description.fullmatch(name):
            return (source_built or not name.endswith(".dsc")) and _source_of_text(there) == self.source
        if self._source.fullmatch(name):
            return source_built
        # An upstream tarball is no build's, and of a file by hand only an earlier .changes can say whose it is.
        return not self._upstream.fullmatch(name) and self._was_listed(there)

    def _was_listed(self, there: Path) -> bool:
        for changes in there.parent.glob(f"{self.source}_{self.version}_*.changes"):
            with suppress(OSError):
                if _source_of_text(changes) == self.source and f" {there.name}\n" in _text(changes):
                    return True
        return False


def _text(path: Path) -> str:
    with hostile_tree.directory(path.parent.resolve(), "") as place:
        return hostile_tree.read(place, path.name, TEXT_LIMIT).decode(errors="replace")


def _source_of_text(path: Path) -> str:
    """The source that a .changes, .buildinfo or .dsc is about; "" where it is none."""
    try:
        # python-debian's start, and tarfile's, would be felt before the build; this is after it.
        from debian.deb822 import Deb822

        return _first_word(Deb822(_text(path)), "Source")
    except (ValueError, EOFError):
        return ""


def _source_of_package(path: Path) -> str:
    """The source that a binary package says it was made of; "" where it is no package."""
    import tarfile

    from debian.deb822 import Deb822

    command = ("dpkg-deb", "--ctrl-tarfile", str(path))
    try:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as reading:
            assert reading.stdout is not None
            content = reading.stdout.read(TEXT_LIMIT)
            reading.kill()
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                control = archive.extractfile(member) if member.name.removeprefix("./") == "control" else None
                if control is not None:
                    fields = Deb822(control.read(TEXT_LIMIT))
                    return _first_word(fields, "Source") or _first_word(fields, "Package")
    except FileNotFoundError:
        raise Problem("dpkg-deb is missing", "apt-get install dpkg") from None
    except (tarfile.TarError, ValueError, EOFError):
        pass
    return ""


def _first_word(fields: Mapping[str, str], name: str) -> str:
    """Without the version that may stand behind a source's name."""
    return next(iter(fields.get(name, "").split()), "")


def put(directory: Path, names: Iterable[str], output: Path) -> None:
    """Copy files into `output`, replacing what has the same name: first whole, then all at once in this order. Problem.

    A link of that name is replaced, not followed.
    """
    written: dict[Path, Path] = {}
    target = output
    try:
        for name in names:
            target = output / name
            written[target] = _partial(target)
            with written[target].open("xb") as writer, (directory / name).open("rb") as reader:
                while piece := reader.read(hostile_tree.CHUNK):
                    writer.write(piece)
        for target, partial in written.items():
            partial.rename(target)
    except OSError as error:
        raise Problem(f"Cannot write {target}: {error.strerror}") from None
    finally:
        for partial in written.values():
            partial.unlink(missing_ok=True)


def put_text(text: str, wanted: Path, *, mark: bytes) -> Path:
    """Write a report of ours, the whole file or none, and say where it is. Problem.

    An earlier one of that name, which has the `mark` in its first lines, is replaced; beside all else it gets another.
    """
    target = _free(wanted, mark)
    partial = _partial(target)
    try:
        with partial.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        partial.rename(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Problem(f"Cannot write {target}: {error.strerror}") from None
    return target


def _free(wanted: Path, mark: bytes) -> Path:
    for path in candidates(wanted):
        try:
            with hostile_tree.directory(path.parent.resolve(), "") as place:
                beginning = hostile_tree.beginning(place, path.name)
        except FileNotFoundError:
            return path
        except OSError:  # a link, a directory: the user's
            continue
        if mark in beginning:
            return path
    raise Problem(f"Cannot write {wanted}: there are too many of that name")


def fresh_directory(wanted: Path) -> Path:
    """Make a directory of this name, or of the first with a number in it that is free. Problem."""
    for path in candidates(wanted):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise Problem(f"Cannot make {path}: {error.strerror}") from None
        return path
    raise Problem(f"Cannot make {wanted}: there are too many of that name")


def candidates(wanted: Path) -> Iterable[Path]:
    """A name, and then the same with a number in it, as often as makes sense."""
    stem, dot, ending = wanted.name.rpartition(".")
    yield wanted
    for number in range(2, 100):
        yield wanted.with_name(f"{stem}-{number}{dot}{ending}")


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
