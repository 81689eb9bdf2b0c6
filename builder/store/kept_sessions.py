"""Sessions that outlive what was done in them: a failed build's, kept to be looked at; or one begun to be used at will.

    PLACE/NAME/layer/          what was written, a cowfs layer over `base`
    PLACE/NAME/own/            its build tree and its /tmp (session/own_directories.py), where they were plain
    PLACE/NAME/below/          frozen layers between that and the base, topmost first: 0, 1, ...
    PLACE/NAME/steps/STATE/    states that the session went through: each may have a layer of its own, over those below
                               but for the first so many, which step.info tells
    PLACE/NAME/session.info    which base, which package, where in it the build was

A kept session keeps the base it stands on from being removed (bases.py).
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from builder import private, records
from builder.problems import Misuse, Problem
from builder.removal import remove
from builder.store.places import Kind, place_of

INFO, STEP_INFO = "session.info", "step.info"
FIELDS = {"name": str, "package": str, "base": str, "stage": str, "made": float, "build_directory": str}
"""Of INFO, as records.py has them."""
STEP_FIELDS = {"skipped": int}


@dataclass(frozen=True)
class KeptSession:
    name: str
    package: str
    base: str
    stage: str
    made: float
    build_directory: str
    step: str = ""
    """Which of the states that the session NAME, which `name` then is but for ":STEP", went through."""

    @property
    def directory(self) -> Path:
        return self._whole / "steps" / self.step if self.step else self._whole

    @property
    def _whole(self) -> Path:
        return sessions_directory() / self.name.partition(":")[0]

    @property
    def layer(self) -> Path:
        return self.directory / "layer"

    @property
    def own(self) -> Path:
        return self.directory / "own"

    @property
    def below(self) -> list[Path]:
        """The frozen layers that it stands on, topmost first."""
        found = frozen_layers(self._whole)
        if not self.step:
            return found
        record = records.read(self.directory / STEP_INFO, STEP_FIELDS)
        return found[record["skipped"] :] if record else found

    @property
    def steps(self) -> list[str]:
        """The names of its states, in order."""
        return sorted(info.parent.name for info in self.directory.glob(f"steps/*/{STEP_INFO}"))

    def at(self, step: str) -> KeptSession | None:
        """It at one of its states, by its name with or without the number; the last of that name."""
        for each in reversed(self.steps):
            if step in (each, each.partition("-")[2]):
                return replace(self, name=f"{self.name}:{each}", step=each)
        return None

    def as_record(self) -> dict[str, str | float]:
        return {name: value for name, value in asdict(self).items() if name in FIELDS}


def frozen_layers(whole: Path) -> list[Path]:
    """Those in a kept session's directory, topmost first."""
    return sorted((whole / "below").glob("[0-9]*"), key=lambda each: int(each.name))


def sessions_directory() -> Path:
    """Where this user's kept sessions are."""
    return place_of(Kind.STATE, "sessions")


def make_sessions_directory() -> Path:
    """The directory of kept sessions, made where it is missing, closed to others: they may hold setuid programs."""
    return private.make(sessions_directory())


def keep(
    layer: Path,
    own: Path,
    below: Sequence[Path],
    *,
    stem: str,
    package: str,
    base: Path,
    stage: str,
    made: float,
    build_directory: str,
    frozen: Sequence[Path] = (),
    states: Sequence[tuple[str, int]] = (),
) -> str:
    """Keep an ended session's layer and own directories, if any; all on this file system. Its name. OSError.

    The frozen layers `below` it, topmost first, stay where they are, too; not its own ones, the lowest first, that are
    over them. `states` are names, and on how many of its own frozen layers they stand.
    """
    kept = KeptSession(free_name(stem), package, str(base), stage, made, build_directory)
    whole = layer.parent / "kept"
    whole.mkdir()
    (whole / "below").mkdir()
    for at, layer_of_it in enumerate(reversed(frozen)):
        layer_of_it.rename(whole / f"below/{at}")
    for name, layers in states:
        (whole / "steps" / name).mkdir(parents=True)
        (whole / "steps" / name / STEP_INFO).write_text(json.dumps({"skipped": len(frozen) - layers}) + "\n")
    for at, each in enumerate(below, len(frozen)):
        # Nobody writes to the files of a frozen layer, so they can have two names; not on two file systems.
        for how in ("-al", "-a"):
            copied = subprocess.run(["cp", how, each, whole / f"below/{at}"], stderr=subprocess.DEVNULL, check=False)
            if copied.returncode == 0:
                break
            shutil.rmtree(whole / f"below/{at}", ignore_errors=True)
        else:
            raise OSError(f"the layer {each} cannot be copied")
    layer.rename(whole / "layer")
    if own.exists():
        own.rename(whole / "own")
    publish(whole, kept)
    return kept.name


def free_name(stem: str) -> str:
    return f"{stem}-{secrets.token_hex(2)}"


def publish(whole: Path, kept: KeptSession) -> None:
    """Make a session of `whole`, a directory on the file system of kept sessions that has all but INFO. OSError."""
    # A session that is entered needs none of it.
    from cowfs.layer import metadata

    # In the places where they will be: a layer keeps in mind what it lies over.
    layers = [whole / "layer", *frozen_layers(whole)]
    try:
        for at, layer in enumerate(layers):
            if metadata.is_layer(layer):
                below = {each: kept.directory / each.relative_to(whole) for each in layers[at + 1 :]}
                metadata.note_bases(layer, {**below, Path(kept.base): Path(kept.base)})
    except metadata.LayerError as error:
        raise OSError(str(error)) from None
    records.write(whole / INFO, kept.as_record())
    whole.rename(kept.directory)


def begin(base: Path, *, stem: str, stage: str) -> KeptSession:
    """A new session over a base, in which nothing is written yet. Problem where it cannot be made."""
    made = make_sessions_directory()
    name = f"{stem}-{secrets.token_hex(4)}"
    kept = KeptSession(name, "", str(base), stage, time.time(), "/")
    whole = made / f".{name}"
    whole.mkdir()
    (whole / "layer").mkdir()
    records.write(whole / INFO, kept.as_record())
    whole.rename(kept.directory)
    return kept


def every() -> list[KeptSession]:
    """The kept sessions, oldest first."""
    read = [(info.parent.name, records.read(info, FIELDS)) for info in sessions_directory().glob(f"*/{INFO}")]
    # What says that it is another one would be removed in that one's place.
    found = [KeptSession(**fields) for name, fields in read if fields is not None and fields["name"] == name]
    return sorted(found, key=lambda each: each.made)


def find(name: str) -> KeptSession:
    """Problem when there is none of that name."""
    session, _, step = name.partition(":")
    for each in every():
        if each.name == session and step:
            if (found := each.at(step)) is not None:
                return found
            raise Misuse(f"The session {session} has no state {step}", f"States: {', '.join(each.steps) or 'none'}")
        if each.name == session:
            return each
    known = ", ".join(each.name for each in every()) or "none"
    raise Misuse(f"There is no kept session {name}", f"Sessions: {known}")


def discard(name: str) -> None:
    """Remove a kept session. Problem when there is none."""
    kept = find(name)
    if kept.step:
        raise Misuse(f"{name} is a state of a session, and goes with it", f"cowbuild discard {name.partition(':')[0]}")
    directory = kept.directory
    # Out of sight first: what is half removed is no session.
    (directory / INFO).unlink()
    if not remove(directory):
        raise Problem(f"The session {name} is gone, but not all of its files in {directory}")
