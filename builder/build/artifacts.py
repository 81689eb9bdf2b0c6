"""What a build made: found by its .changes, taken out of the session, checked, and put in the user's directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Changes

from builder import hostile_tree
from builder.debian import dsc
from builder.problems import Problem

# A .changes is text of some kilobytes; a build that makes a larger one is up to something.
CHANGES_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True)
class Artifacts:
    """The files taken out, .changes first, all in one directory of ours, and their total size in bytes."""

    directory: Path
    names: tuple[str, ...]
    size: int

    @property
    def changes(self) -> Path:
        return self.directory / self.names[0]

    def ending(self, *suffixes: str) -> list[Path]:
        return [self.directory / name for name in self.names if name.endswith(suffixes)]


def take(root: Path, build_place: str, staging: Path) -> Artifacts:
    """Copy the .changes and the files it lists from `build_place` below the session's `root` into `staging`.

    The build could write there what it liked: links are not followed, names and checksums are checked. Problem when
    there is no .changes, or more than one, or when what it lists is not there as listed.
    """
    with hostile_tree.directory(root, build_place) as place:
        found = [name for name in hostile_tree.names(place) if name.endswith(".changes")]
        if len(found) != 1 or not dsc.FILE_NAME.fullmatch(found[0]):
            raise Problem(f"The build made {len(found)} .changes files; one was expected", " ".join(found))
        try:
            size, _digest = hostile_tree.copy_out(place, found[0], staging / found[0], CHANGES_LIMIT)
            fields = Changes(dsc.decoded((staging / found[0]).read_bytes()))
            names = [found[0]]
            for listed in dsc.listed_files(fields, found[0]):
                copied, digest = hostile_tree.copy_out(place, listed.name, staging / listed.name, listed.size)
                if copied != listed.size or digest != listed.sha256:
                    raise Problem(f"{listed.name} is not the file that {found[0]} lists")
                names.append(listed.name)
                size += copied
        except OSError as error:
            raise Problem(f"The build's files cannot be taken: {error}") from None
    return Artifacts(staging, tuple(names), size)


def publish(artifacts: Artifacts, output: Path) -> None:
    """Put the files into `output`, each complete or not at all, replacing what has the same name there.

    A link of that name is replaced, not followed.
    """
    # .changes last: a program that waits for it finds all it lists.
    for name in reversed(artifacts.names):
        partial = output / f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            with partial.open("xb") as writer, (artifacts.directory / name).open("rb") as reader:
                while piece := reader.read(hostile_tree.CHUNK):
                    writer.write(piece)
            partial.rename(output / name)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise Problem(f"Cannot write {output / name}: {error.strerror}") from None
