"""What a build made: found by its .changes, taken out of the session, checked, and put in the user's directory."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder import hostile_tree
from builder.build import outputs
from builder.build.outputs import Names
from builder.debian import dsc
from builder.debian.dsc import TEXT_LIMIT
from builder.problems import Problem


@dataclass(frozen=True)
class Artifacts:
    """The files taken out, .changes first, all in one directory of ours, and their total size in bytes."""

    directory: Path
    names: tuple[str, ...]
    size: int

    @property
    def changes(self) -> Path:
        return self.directory / self.names[0]

    @property
    def made(self) -> Names:
        """What the .changes is named after."""
        source_name, version, *_ = (*self.names[0].split("_"), "")
        return Names(source_name, version)

    def with_text(self, root: Path, build_place: str, name: str) -> Artifacts:
        """These, and another text that lies where they came from. Problem when it cannot be taken."""
        with hostile_tree.directory(root, build_place) as place:
            try:
                size, _digest = hostile_tree.copy_out(place, name, self.directory / name, TEXT_LIMIT)
            except OSError as error:
                raise Problem(f"{name} cannot be taken: {error}") from None
        return Artifacts(self.directory, (*self.names, name), self.size + size)

    def ending(self, *suffixes: str) -> list[Path]:
        return [self.directory / name for name in self.names if name.endswith(suffixes)]


def take(root: Path, build_place: str, staging: Path) -> Artifacts:
    """Copy the .changes and the files it lists from `build_place` below the session's `root` into `staging`.

    The build could write there what it liked: links are not followed, names and checksums are checked. Problem when
    there is no .changes, or more than one, or when what it lists is not there as listed.
    """
    with hostile_tree.directory(root, build_place) as place:
        found = [name for name in hostile_tree.names(place) if name.endswith(".changes")]
        if len(found) != 1:
            raise Problem(f"The build made {len(found)} .changes files; one was expected", " ".join(found))
        if not dsc.FILE_NAME.fullmatch(found[0]):
            raise Problem(f"The build made a .changes file with a forbidden name: {found[0]!r}")
        try:
            size, _digest = hostile_tree.copy_out(place, found[0], staging / found[0], TEXT_LIMIT)
            names = [found[0]]
            said = dsc.fields((staging / found[0]).read_bytes(), found[0])
            for listed in dsc.listed_files(said, found[0]):
                copied, digest = hostile_tree.copy_out(place, listed.name, staging / listed.name, listed.size)
                if copied != listed.size or digest != listed.sha256:
                    raise Problem(f"{listed.name} is not the file that {found[0]} lists")
                names.append(listed.name)
                size += copied
        except OSError as error:
            raise Problem(f"The build's files cannot be taken: {error}") from None
    return Artifacts(staging, tuple(names), size)


def publish(artifacts: Artifacts, output: Path, *, source_built: bool = False) -> None:
    """Put the files into `output`, each complete or not at all, replacing those of an earlier build of the same source.

    A link of such a name is replaced, not followed. Problem, with everything in a directory of its own in there, when
    one has a name that dpkg does not give, or would replace what no build of this source made. `source_built`: the
    user asked for the source package, too.
    """
    if why := _refused(artifacts, output, source_built=source_built):
        place = outputs.fresh_directory(output / f"{artifacts.changes.stem}.artifacts")
        outputs.put(artifacts.directory, reversed(artifacts.names), place)
        hint = [*why[1:], f"What was built is in {place}", "What is in the way can be moved, or: --output DIRECTORY"]
        raise Problem(f"Nothing was put into {output}: {why[0]}", "\n".join(hint))
    # .changes last: a program that waits for it finds all it lists.
    outputs.put(artifacts.directory, reversed(artifacts.names), output)


def _refused(artifacts: Artifacts, output: Path, *, source_built: bool) -> list[str]:
    """What may not be put there, and why; a sentence for each."""
    made = artifacts.made
    found = []
    for name in artifacts.names:
        if not made.fits(name):
            found.append(f"{name} is no name that dpkg gives to what it makes of {made.source} {made.version}")
            continue
        with suppress(FileNotFoundError):
            try:
                if not made.replaceable(output / name, artifacts.directory / name, source_built=source_built):
                    found.append(f"{name} is there, and not from an earlier build of {made.source}")
            except PermissionError as error:
                found.append(f"{name} is there, and cannot be read: {error.strerror}")
    return found
