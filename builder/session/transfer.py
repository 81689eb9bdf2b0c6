"""A kept session as one file, to be taken in elsewhere over the same base.

The file is a zip archive of

    session.json    the session's record, which base it stands on, and on how many frozen layers
    layer.tar       what was written, as a layer of an OCI image (`cowfs export`)
    below/N.tar     the frozen layers below that, topmost first: 0, 1, ...
    own.tar         its own directories, where they are plain

It may come from anywhere. No other member of it is looked at, and `cowfs import` unpacks these: each name is looked up
in the union, no link is followed. The own directories are unpacked the same way, over nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, NoReturn

from builder import hostile_tree, records
from builder.debian import base_facts
from builder.problems import Misuse, Problem, printable
from builder.records import Fields
from builder.session import own_directories
from builder.session.session import COWFS
from builder.store import bases, kept_sessions
from builder.store.kept_sessions import FIELDS, KeptSession
from cowfs.base_list import join_bases

RECORD = "session.json"
RECORD_LIMIT = 64 * 1024
LAYERS_LIMIT = 200
RECORD_FIELDS = {**FIELDS, "suite": str, "architecture": str, "digest": str, "layers": int}

# What two bases may differ in and be the same: what apt fetched, caches, logs, and when files were made.
NOT_COMPARED = ("./var/lib/apt/lists/*", "./var/cache/*", "./var/log/*")
AS_CONTENT = (
    *("tar", "--create", "--format=gnu", "--sort=name", "--mtime=@0", "--numeric-owner", "--hard-dereference"),
    *("--atime-preserve=system", *(f"--exclude={pattern}" for pattern in NOT_COMPARED)),
)
AS_ARCHIVE = ("tar", "--create", "--format=pax", "--numeric-owner", "--sparse", "--xattrs", "--xattrs-include=*")

# What zipfile raises at archives of others' making.
DAMAGE = (zipfile.BadZipFile, zlib.error, LookupError, ValueError, RuntimeError, EOFError, OverflowError)


def content_of(base: Path) -> str:
    """A digest of what is in a base, the same for whoever made it, at whatever time. Problem."""
    import hashlib

    digest = hashlib.sha256()
    # Its own mode is that of a closed directory, or not.
    names = sorted(f"./{name}" for name in os.listdir(base))
    with _running([*AS_CONTENT, "-C", base, "--", *names], f"The base {base} cannot be read") as process:
        assert process.stdout is not None
        while piece := process.stdout.read(hostile_tree.CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def write(kept: KeptSession, target: Path) -> None:
    """Write a session into a file, which is whole when it has its name. Problem, and there is none."""
    failure = f"The session {kept.name} cannot be exported"
    if _has_mark(kept.own):
        raise Problem(f"{failure}: a name below its own directories begins with .wh., which archives give a meaning")
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    base = Path(kept.base)
    # A state in which nothing was done has no layer of its own yet.
    layers = [*([kept.layer] if (kept.layer / "upper").is_dir() else []), *kept.below]
    if not layers:
        raise Problem(f"{failure}: nothing was written in it yet")
    record = {
        **kept.as_record(),
        "suite": base_facts.suite(base),
        "architecture": base_facts.architecture(base),
        "digest": content_of(base),
        "layers": len(layers) - 1,
    }
    try:
        with zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(RECORD, json.dumps(record, indent=1) + "\n")
            for (name, _), layer in zip(_layers(kept.directory, len(layers) - 1), layers, strict=True):
                _add(archive, name, [*COWFS, "export", layer, "--format", "oci"], failure)
            if kept.own.is_dir():
                _add(archive, "own.tar", [*AS_ARCHIVE, "-C", kept.own, "."], failure)
        os.link(partial, target)
    except FileExistsError:
        raise Misuse(f"{target} exists already", "--output FILE") from None
    except OSError as error:
        raise Problem(f"{failure}: {target} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def _layers(directory: Path, below: int) -> list[tuple[str, Path]]:
    """The members that are layers, and where they lie in a session's directory; topmost first."""
    return [
        ("layer.tar", directory / "layer"),
        *((f"below/{at}.tar", directory / f"below/{at}") for at in range(below)),
    ]


def _has_mark(own: Path) -> bool:
    if not own.is_dir():
        return False
    found = subprocess.run(["find", own, "-name", ".wh.*", "-print", "-quit"], capture_output=True, check=False)
    return bool(found.stdout)


def _add(archive: zipfile.ZipFile, name: str, command: Sequence[str | Path], failure: str) -> None:
    with archive.open(name, "w", force_zip64=True) as member, _running(command, failure) as process:
        assert process.stdout is not None
        shutil.copyfileobj(process.stdout, member, hostile_tree.CHUNK)


def read(file: Path, base: str | None, directory: Path) -> str:
    """Make a kept session of a file, over the base of that name, else over any that is the right one. Its name.

    `directory` is a private one where kept sessions are. Problem, and nothing is left of it.
    """
    try:
        with hostile_tree.regular_file(file) as opened, zipfile.ZipFile(opened) as archive:
            record = _record(archive, file, directory)
            with _right_base(file, record, base) as tree:
                return _unpack(archive, file, record, tree, directory)
    except DAMAGE as error:
        raise Problem(f"{file} is damaged, nothing was imported: {error}") from None
    except OSError as error:
        raise Problem(f"{file} cannot be imported: {error.strerror or error}") from None


def _record(archive: zipfile.ZipFile, file: Path, directory: Path) -> Fields:
    """Problem where it says nothing that makes sense."""
    if RECORD not in archive.namelist():
        _no_session(file)
    with archive.open(RECORD) as member:
        (directory / RECORD).write_bytes(member.read(RECORD_LIMIT))
    record = records.read(directory / RECORD, RECORD_FIELDS)
    if record is None or record["layers"] > LAYERS_LIMIT:
        _no_session(file)
    place, source = os.path.split(record["build_directory"])
    if record["build_directory"] != "/" and not (
        own_directories.may_be_place(place) and own_directories.may_be_place(f"/{source}")
    ):
        raise Problem(f"{file} was not imported: {record['build_directory']!r} can be no build's directory")
    return record


def _no_session(file: Path) -> NoReturn:
    raise Problem(f"{file} is no session: it has no {RECORD} that makes sense", "cowbuild session export makes one.")


@contextmanager
def _right_base(file: Path, record: Fields, wanted: str | None) -> Iterator[Path]:
    """The base that is what the session stood on. Problem where there is none."""
    kind = f"{record['suite']} for {record['architecture']}"
    names = [wanted] if wanted is not None else bases.fitting(record["suite"], record["architecture"])
    for name in names:
        with bases.base_in_use(name) as tree:
            if content_of(tree) == record["digest"]:
                yield tree
                return
    hint = "What a base must be to be the same, and how to get it: docs/building.md. Another one: --base BASE"
    if wanted is not None:
        raise Problem(f"{file} was not imported: its session stands on another base than {wanted} ({kind})", hint)
    raise Problem(f"{file} was not imported: its session stands on a base that is not here ({kind})", hint)


def _unpack(archive: zipfile.ZipFile, file: Path, record: Fields, base: Path, directory: Path) -> str:
    whole = directory / "imported"
    whole.mkdir()
    (whole / "below").mkdir()
    layers = _layers(whole, record["layers"])
    needed = sum(each.file_size for each in archive.infolist())
    if needed > (free := shutil.disk_usage(whole).free):
        raise Problem(f"{file} was not imported: it holds {needed >> 20} MiB, and there are {free >> 20} MiB of room")
    # The lowest first: what is over it means what it has.
    for at in reversed(range(len(layers))):
        name, layer = layers[at]
        _import(archive, name, layer, [*(below for _, below in layers[at + 1 :]), base], file)
    if "own.tar" in archive.namelist():
        empty = directory / "nothing"
        empty.mkdir()
        _import(archive, "own.tar", directory / "own", [empty], file)
        (directory / "own/upper").rename(whole / own_directories.NAME)
    stem = record["name"].partition(":")[0].rpartition("-")[0]
    # What it is called elsewhere need be no name here.
    name = kept_sessions.free_name(stem if own_directories.may_be_place(f"/{stem}") else "imported")
    fields = {field: record[field] for field in FIELDS}
    kept_sessions.publish(whole, replace(KeptSession(**fields), name=name, base=str(base)))
    return name


def _import(archive: zipfile.ZipFile, name: str, layer: Path, over: Sequence[Path], file: Path) -> None:
    command: list[str | Path] = [*COWFS, "import", "-", layer, "--base", join_bases(list(over))]
    failure = f"{file} was not imported: {name} in it"
    with archive.open(name) as member, _running(command, failure, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        try:
            shutil.copyfileobj(member, process.stdin, hostile_tree.CHUNK)
            process.stdin.close()
        except BrokenPipeError:  # it says why
            pass


@contextmanager
def _running(
    command: Sequence[str | Path], failure: str, *, stdin: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose input or output is the caller's. Problem, with its last words, where it fails."""
    import tempfile

    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=complaints) as process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
        complaints.seek(0)
        said = complaints.read(RECORD_LIMIT).decode(errors="replace").strip().splitlines()
    if process.returncode != 0:
        raise Problem(f"{failure}: {said[-1] if said else f'exit code {process.returncode}'}")
    for line in said:  # sockets, which no archive can hold
        print(printable(line), file=sys.stderr)
