"""Source packages: what a .dsc may say, and what is fetched by it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from builder.debian import dsc
from builder.debian.dsc import fetch, read
from builder.problems import Problem

DSC = """\
Format: 3.0 (native)
Source: {name}
Architecture: any
Version: {version}
Checksums-Sha256:
 {sha256} {size} {file}
Files:
 d41d8cd98f00b204e9800998ecf8427e {size} {file}
"""


def write_dsc(
    place: Path, *, name: str = "tiny", version: str = "1", file: str = "tiny_1.tar.xz", content: bytes = b"content"
) -> Path:
    dsc = place / "tiny_1.dsc"
    digest = hashlib.sha256(content).hexdigest()
    dsc.write_text(DSC.format(name=name, version=version, file=file, size=len(content), sha256=digest))
    (place / "tiny_1.tar.xz").write_bytes(content)
    return dsc


def test_a_source_is_read_and_fetched(tmp_path: Path) -> None:
    package = read(write_dsc(tmp_path, version="1:2.0-3"))
    assert (package.name, package.version_without_epoch, package.directory_name) == ("tiny", "2.0-3", "tiny-2.0")
    target = tmp_path / "target"
    target.mkdir()
    fetch(package, target)
    assert sorted(path.name for path in target.iterdir()) == ["tiny_1.dsc", "tiny_1.tar.xz"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", ".", ".hidden", "a/b", "-option", "a b", "a\\b"])
def test_a_listed_name_that_is_no_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Problem):
        read(write_dsc(tmp_path, file=name))


@pytest.mark.parametrize(("name", "version"), [("../tiny", "1"), ("Tiny", "1"), ("tiny", "1/2"), ("tiny", "$(id)")])
def test_a_source_name_or_version_out_of_policy_is_refused(tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(Problem):
        read(write_dsc(tmp_path, name=name, version=version))


@pytest.mark.parametrize("content", [b"c0ntent", b"content and more", b""])
def test_a_file_that_is_not_as_listed_is_refused(tmp_path: Path, content: bytes) -> None:
    package = read(write_dsc(tmp_path))
    (tmp_path / "tiny_1.tar.xz").write_bytes(content)
    (tmp_path / "target").mkdir()
    with pytest.raises(Problem):
        fetch(package, tmp_path / "target")


@pytest.mark.parametrize("text", ["", "no fields at all", "Source: x\n"])
def test_what_is_no_dsc_is_refused(tmp_path: Path, text: str) -> None:
    dsc = tmp_path / "x.dsc"
    dsc.write_text(text)
    with pytest.raises(Problem):
        read(dsc)


def test_a_signature_that_nobody_can_check_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSource: x\n-----BEGIN PGP SIGNATURE-----\n"
    monkeypatch.setattr(dsc, "KEYRINGS", (tmp_path / "none.gpg",))
    assert "sudo apt-get install debian-keyring" in dsc.check_signature(tmp_path / "x.dsc", signed)
