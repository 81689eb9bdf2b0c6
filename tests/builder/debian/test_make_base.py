"""A base of a tarball, which may come from anywhere."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest

from builder.debian import make_base
from builder.problems import Misuse, Problem

STATUS = b"Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n"


def tarball(place: Path, *members: tuple[str, bytes | str]) -> Path:
    """Of files with content, and of links (text) to somewhere."""
    path = place / "base.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in (("./var/lib/dpkg/status", STATUS), *members):
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def test_what_is_in_it_is_the_base_but_for_devices(tmp_path: Path) -> None:
    made = make_base.unpack(
        tarball(tmp_path, ("./etc/file", b"x"), ("./dev/null", b""), ("./srv/dev/a", b"")), tmp_path
    )
    assert (made / "etc/file").read_bytes() == b"x"
    assert not (made / "dev/null").exists()
    assert (made / "srv/dev/a").exists()


@pytest.mark.parametrize(
    "members",
    [
        [("../outside", b"x")],
        [("{outside}", b"x")],
        [("./way", ".."), ("./way/../outside", b"x")],
        [("./way", "{place}"), ("./way/outside", b"x")],
        [("./way", "{outside}"), ("./way", b"x")],
    ],
)
def test_nothing_in_it_leaves_its_place(tmp_path: Path, members: list[tuple[str, bytes | str]]) -> None:
    outside = tmp_path / "outside"
    told = {"outside": str(outside), "place": str(tmp_path)}
    filled = [
        (name.format(**told), content.format(**told) if isinstance(content, str) else content)
        for name, content in members
    ]
    inner = tmp_path / "inner"
    inner.mkdir()
    with suppress(Problem):
        make_base.unpack(tarball(tmp_path, *filled), inner)
    assert not outside.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"inner", "base.tar.gz"}


def test_what_is_no_debian_system_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="There is no tarball"):
        make_base.check_tarball(tmp_path / "none.tar")
    path = tmp_path / "empty.tar"
    tarfile.open(path, "w").close()
    with pytest.raises(Problem, match="is not a Debian base"):
        make_base.unpack(path, tmp_path)
