"""Where a rebuild finds what it needs: beside the .buildinfo, in archives, in what was fetched before, in a snapshot.

The archives' packages are apt's to get, in the session. Here is the rest: source packages, and what archives no longer
have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from builder.debian import apt, dsc
from builder.debian.dsc import ListedFile
from builder.problems import Problem, Unobtainable
from builder.rebuild.buildinfo import Binary, Record
from builder.rebuild.snapshot import File, Snapshot
from builder.store import fetched_files

Say = Callable[[str], None]


def source(record: Record, directory: Path, suite: str, snapshot: Snapshot | None, say: Say) -> Path:
    """The .dsc, with its files beside it, in or outside of `directory`, which is made. Unobtainable."""
    version = record.source_version.partition(":")[2] or record.source_version
    name = f"{record.source}_{version}.dsc"
    beside = record.path.parent / name
    if beside.is_file():
        return beside
    tried = [f"no {beside}"]
    directory.mkdir()
    try:
        return apt.download_source(record.source, record.source_version, suite, directory)
    except Problem as problem:
        tried.append(str(problem))
    if snapshot is not None:
        try:
            return _from_snapshot(record, name, directory, snapshot, say)
        except Problem as problem:
            tried.append(str(problem))
    else:
        tried.append("no snapshot service was named (--snapshot URL)")
    raise Unobtainable(
        f"The source of {record.source} {record.source_version} cannot be found", "\n".join(tried)
    ) from None


def _from_snapshot(record: Record, name: str, directory: Path, snapshot: Snapshot, say: Say) -> Path:
    files = snapshot.source(record.source, record.source_version)
    found = _fetch_source_file(name, files, directory, snapshot, say)
    for listed in dsc.read(found).files:
        _fetch_source_file(listed.name, files, directory, snapshot, say)
    return found


def _fetch_source_file(name: str, files: Iterable[File], directory: Path, snapshot: Snapshot, say: Say) -> Path:
    """`name` is one that a .dsc may list, or our own: it becomes a path. Problem."""
    file = next((each for each in files if name in each.names), None)
    if file is None:
        raise Problem(f"{snapshot.address} does not know the file {name}")
    return _fetched(file, name, directory, snapshot, say)


def packages(wanted: Iterable[Binary], directory: Path, snapshot: Snapshot | None, say: Say) -> list[Path]:
    """The .deb files, in `directory`, of packages that the archives do not have. Problem naming all that lack."""
    found, missing = [], []
    for each in wanted:
        try:
            if snapshot is None:
                raise Problem("no snapshot service was named (--snapshot URL)")
            found.append(package(each, directory, snapshot, say))
        except Problem as problem:
            missing.append(f"{each}: not in the archives; {problem}")
    if missing:
        told = f"The packages that it was built with cannot be had: {len(missing)} not found"
        raise Problem(told, "\n".join(missing))
    return found


def package(wanted: Binary, directory: Path, snapshot: Snapshot, say: Say) -> Path:
    """The .deb of one, in `directory`. Problem."""
    return _fetched(snapshot.binary(wanted), wanted.file_name, directory, snapshot, say)


def _fetched(file: File, name: str, directory: Path, snapshot: Snapshot, say: Say) -> Path:
    def fetch(target: Path) -> None:
        say(f"Get: {snapshot.address}/file/{file.sha1} {name} [{file.size} B]")
        snapshot.fetch(file, target)

    try:
        return fetched_files.kept_or_fetched(ListedFile(name, file.size, ""), file.sha1, directory, fetch)
    except OSError as error:
        raise Problem(f"{name} cannot be kept: {error.strerror or error}") from None
