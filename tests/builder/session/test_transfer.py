"""Kept sessions as files: what a hostile file may not do, and what must be the same base."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.problems import Problem
from builder.session import transfer
from builder.store import kept_sessions
from tests.builder.packages import COWBUILD

pytestmark = pytest.mark.root

STATUS = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\n\n"


def make_base(place: Path, more: str = "") -> Path:
    (place / "var/lib/dpkg").mkdir(parents=True)
    (place / "var/log").mkdir()
    (place / "usr/lib").mkdir(parents=True)
    (place / "var/lib/dpkg/status").write_text(STATUS + more)
    (place / "usr/lib/os-release").write_text("VERSION_CODENAME=bookworm\n")
    (place / "away").symlink_to(place.parent / "outside")
    place.chmod(0o700)
    return place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/canary").write_text("safe")
    make_base(tmp_path / "base")
    return tmp_path


def archive(*members: tarfile.TarInfo) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return written.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def session_file(place: Path, record: dict[str, Any] | None = None, **members: bytes) -> Path:
    """A session over the base, with this in its record and these members."""
    fields = {
        "name": "tiny_1_amd64-beef",
        "package": "tiny 1",
        "base": "/there",
        "stage": "build",
        "made": 1.0,
        "build_directory": "/build/place/tiny-1",
        "suite": "bookworm",
        "architecture": "amd64",
        "digest": transfer.content_of(place / "base"),
        "layers": 0,
        **(record or {}),
    }
    with zipfile.ZipFile(place / "session.zip", "w") as made:
        made.writestr("session.json", json.dumps(fields))
        for name, content in {"layer": archive(), "own": archive(), **members}.items():
            made.writestr(f"{name}.tar", content)
    return place / "session.zip"


def take_in(place: Path, file: Path) -> kept_sessions.KeptSession:
    """Import it in a private directory. Problem."""
    directory = kept_sessions.make_sessions_directory() / "cowbuild-private"
    directory.mkdir()
    return kept_sessions.find(transfer.read(file, str(place / "base"), directory))


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "no archive": lambda place: _text(place, b"x" * 100),
    "cut off": lambda place: _text(place, session_file(place).read_bytes()[:-40]),
    "damaged inside": lambda place: _damaged(session_file(place, layer=archive(member("file", size=5000)))),
    "no record": lambda place: _renamed(session_file(place)),
    "a record of something else": lambda place: session_file(place, {"layers": "many"}),
    "a text that is none": lambda place: session_file(place, {"stage": "a\nb\x1b[2J"}),
    "layers without end": lambda place: session_file(place, {"layers": 10**12}),
    "layers that are not there": lambda place: session_file(place, {"layers": 3}),
    "a build directory that leads out": lambda place: session_file(place, {"build_directory": "/build/../etc/x"}),
    "a build directory in /proc": lambda place: session_file(place, {"build_directory": "/proc/self/x"}),
    "parent": lambda place: session_file(place, layer=archive(member("../../outside/canary", size=5))),
    "absolute": lambda place: session_file(place, own=archive(member(f"{place}/outside/canary", size=5))),
    "through a link of the base": lambda place: session_file(place, layer=archive(member("away/canary", size=5))),
    "through its own link": lambda place: session_file(
        place, own=archive(member("out", tarfile.SYMTYPE, linkname=str(place)), member("out/outside/canary", size=5))
    ),
    "a hard link out": lambda place: session_file(
        place, own=archive(member("link", tarfile.LNKTYPE, linkname="../../../../outside/canary"))
    ),
    "a whiteout device": lambda place: session_file(place, own=archive(member("null", tarfile.CHRTYPE))),
    "a size that is a lie": lambda place: session_file(place, layer=archive(member("f", size=5))[:512]),
}


def _text(place: Path, content: bytes) -> Path:
    (place / "session.zip").write_bytes(content)
    return place / "session.zip"


def _damaged(file: Path) -> Path:
    content = file.read_bytes()
    return _text(file.parent, content.replace(b"xxxx", b"yyyy", 1))


def _renamed(file: Path) -> Path:
    return _text(file.parent, file.read_bytes().replace(b"session.json", b"session.xxxx"))


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_refused_by_a_sentence_and_leaves_nothing(place: Path, what: str) -> None:
    file = HOSTILE[what](place)
    with pytest.raises(Problem) as raised:
        take_in(place, file)
    assert str(file) in str(raised.value)
    assert kept_sessions.every() == []
    assert (place / "outside/canary").read_text() == "safe"
    assert sorted(path.name for path in (place / "outside").iterdir()) == ["canary"]


def test_what_a_file_holds_is_a_layer_and_plain_directories_that_nobody_else_enters(place: Path) -> None:
    marks = {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc"}
    file = session_file(
        place,
        {"name": "../../etc/x-1"},
        layer=archive(
            member("usr/su", mode=0o4755, size=3), member("d", tarfile.DIRTYPE, mode=0o755, pax_headers=marks)
        ),
        own=archive(member("tmp", tarfile.SYMTYPE, linkname="/etc"), member("build/place/x", size=1, uid=60998)),
    )
    kept = take_in(place, file)
    # A name that is none here is not taken over.
    assert kept.name.startswith("imported-")
    assert (kept.directory.parent.stat().st_mode & 0o777, kept.layer.stat().st_mode & 0o777) == (0o700, 0o700)
    assert (kept.layer / "upper/usr/su").stat().st_mode & 0o7777 == 0o4755
    # Marks of its own are its session's to see, and mean nothing to the union.
    assert os.listxattr(kept.layer / "upper/d") not in (["user.overlay.opaque"], ["trusted.overlay.redirect"])
    assert (kept.own / "build/place/x").stat().st_uid == 60998
    assert os.readlink(kept.own / "tmp") == "/etc"


def test_a_base_is_the_same_by_its_content_whoever_made_it_and_when(place: Path) -> None:
    digest = transfer.content_of(place / "base")
    again = make_base(place / "again")
    os.utime(again / "var/lib/dpkg/status", (1, 1))
    (again / "var/log/dpkg.log").write_text("then\n")
    (again / "away").unlink()
    (again / "away").symlink_to(os.readlink(place / "base/away"))
    again.chmod(0o755)
    assert transfer.content_of(again) == digest
    (again / "usr/lib/os-release").chmod(0o600)
    assert transfer.content_of(again) != digest


def test_another_base_is_refused_by_a_sentence_and_what_is_exported_replaces_nothing(place: Path) -> None:
    def cowbuild(*words: str | Path) -> tuple[int, str]:
        done = subprocess.run(
            [*COWBUILD, "session", *map(str, words)], capture_output=True, text=True, cwd=place, check=False
        )
        return done.returncode, done.stderr

    kept = take_in(place, session_file(place))
    assert cowbuild("export", kept.name, "--output", place / "one.zip") == (0, "")
    code, told = cowbuild("export", kept.name, "--output", place / "one.zip")
    assert (code, "exists already" in told) == (2, True)
    other = make_base(place / "other", "Package: more\n")
    code, told = cowbuild("import", place / "one.zip", "--base", other)
    assert (code, f"its session stands on another base than {other} (bookworm for amd64)" in told) == (1, True)
    code, told = cowbuild("import", place / "one.zip")
    assert (code, "stands on a base that is not here (bookworm for amd64)" in told) == (1, True)
    assert [each.name for each in kept_sessions.every()] == [kept.name]
    # A name that an archive would take for a whiteout is not silently lost.
    (kept.own / ".wh.file").write_text("")
    code, told = cowbuild("export", kept.name)
    assert (code, "begins with .wh." in told) == (1, True)
    assert list(place.glob(".*zip*")) == []
