"""What is read from a .buildinfo, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from builder.build.job import BuildOptions
from builder.problems import Misuse, Problem
from builder.rebuild import buildinfo
from builder.rebuild.buildinfo import Binary
from builder.rebuild.rebuild import options_of
from tests.harness.mutations import mutated

GOOD = f"""\
Format: 1.0
Source: tiny (1:1.0-1)
Binary: tiny
Architecture: amd64 all
Version: 1:1.0-1+b1
Binary-Only-Changes:
 tiny (1:1.0-1+b1) sid; urgency=low, binary-only=yes
 .
   * Binary-only non-maintainer upload for amd64; no source changes.
 .
  -- Some One <some@one.org>  Tue, 14 Nov 2023 22:13:20 +0000
Checksums-Sha256:
 {"a" * 64} 1040 tiny_1.0-1+b1_amd64.deb
Build-Origin: Debian
Build-Architecture: amd64
Build-Path: /build/tiny-XYZ/tiny-1.0~x
Installed-Build-Depends:
 base-files (= 12.4+deb12u5),
 libc6:i386 (= 2.36-9)
Environment:
 DEB_BUILD_OPTIONS="parallel=4 nocheck"
 DEB_BUILD_PROFILES="nodoc noudeb"
 LC_ALL="C.UTF-8"
 SOURCE_DATE_EPOCH="1700000000"
 QUOTED="a \\"b\\" \\\\"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tiny.buildinfo"
    path.write_text(text)
    return path


def test_all_that_decides_on_a_build_is_read(tmp_path: Path) -> None:
    record = buildinfo.read(written(tmp_path, GOOD))
    assert (record.source, record.source_version, record.version) == ("tiny", "1:1.0-1", "1:1.0-1+b1")
    assert record.installed == (
        Binary("base-files", "amd64", "12.4+deb12u5"),
        Binary("libc6", "i386", "2.36-9"),
    )
    assert record.environment["QUOTED"] == 'a "b" \\'
    assert record.vendor == "Debian"
    assert record.signature == "not signed"
    options = options_of(record, BuildOptions(dsc=tmp_path, base=tmp_path, output=tmp_path))
    assert (options.build_any, options.build_all, options.build_source) == (True, True, False)
    assert (options.build_place, options.source_directory) == ("/build/tiny-XYZ", "tiny-1.0~x")
    assert options.profiles == ("nodoc", "noudeb")
    assert options.environment is not None
    assert options.environment["LANG"] == ""
    assert options.environment["SOURCE_DATE_EPOCH"] == "1700000000"
    assert options.rebuild.version("1:1.0-1") == "1:1.0-1+b1"
    assert options.rebuild.entry("tiny", "1:1.0-1", "sid", "amd64") == (
        "tiny (1:1.0-1+b1) sid; urgency=low, binary-only=yes\n\n"
        "  * Binary-only non-maintainer upload for amd64; no source changes.\n\n"
        " -- Some One <some@one.org>  Tue, 14 Nov 2023 22:13:20 +0000\n"
    )


def test_a_cross_build_is_one_again(tmp_path: Path) -> None:
    text = GOOD.replace("Architecture: amd64 all", "Architecture: arm64")
    record = buildinfo.read(written(tmp_path, text))
    assert options_of(record, BuildOptions(dsc=tmp_path, base=tmp_path, output=tmp_path)).host == "arm64"


@pytest.mark.parametrize(
    ("there", "instead", "said"),
    [
        ("Source: tiny (1:1.0-1)", "Source: ../tiny", "source or version"),
        ("Version: 1:1.0-1+b1", "Version: 1/../2", "source or version"),
        ("base-files (= 12.4+deb12u5)", "../../etc/passwd (= 1)", "no package in one version"),
        ("base-files (= 12.4+deb12u5)", "base-files (= 1/2)", "no package in one version"),
        ("base-files (= 12.4+deb12u5)", "--allow-unauthenticated (= 1)", "no package in one version"),
        ("base-files (= 12.4+deb12u5)", f"base-files (= {'1' * 101})", "no package in one version"),
        ("base-files (= 12.4+deb12u5)", "libc6:i386 (= 3)", "two versions of libc6"),
        ("base-files (= 12.4+deb12u5),\n libc6:i386 (= 2.36-9)", ",", "0 packages"),
        ("/build/tiny-XYZ/tiny-1.0~x", "/proc/self/tiny", "build path"),
        ("/build/tiny-XYZ/tiny-1.0~x", "/build/../etc/tiny", "build path"),
        ("/build/tiny-XYZ/tiny-1.0~x", "/tiny", "build path"),
        ("/build/tiny-XYZ/tiny-1.0~x", "/build/$(reboot)/tiny", "build path"),
        ("tiny_1.0-1+b1_amd64.deb", "../tiny_1.0-1+b1_amd64.deb", "forbidden name"),
        ('LC_ALL="C.UTF-8"', 'LC ALL="C.UTF-8"', "no variable"),
        ('LC_ALL="C.UTF-8"', f'LC_ALL="{"x" * 70000}"', "environment that no program can have"),
        ("Build-Origin: Debian", "Build-Origin: ../Debian", "no vendor"),
        ("Build-Architecture: amd64", "Build-Architecture: ../amd64", "architecture"),
    ],
)
def test_what_no_dpkg_writes_is_refused(tmp_path: Path, there: str, instead: str, said: str) -> None:
    assert there in GOOD
    with pytest.raises(Problem, match=said):
        buildinfo.read(written(tmp_path, GOOD.replace(there, instead)))


@pytest.mark.parametrize("text", ["", "Source: tiny\n", "\0\0", "Checksums-Sha256: x\n"])
def test_what_is_no_buildinfo_is_told_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(Problem):
        buildinfo.read(written(tmp_path, text))
    with pytest.raises(Misuse, match="Cannot read"):
        buildinfo.read(tmp_path)


def test_text_outside_of_what_is_signed_is_refused(tmp_path: Path) -> None:
    signed = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{GOOD}-----BEGIN PGP SIGNATURE-----\n\nx\n"
    with pytest.raises(Problem, match="outside of what is signed"):
        buildinfo.read(written(tmp_path, f"Version: 9\n{signed}"))


def test_a_binnmu_without_its_changelog_is_refused(tmp_path: Path) -> None:
    start, rest = GOOD.split("Binary-Only-Changes:")
    record = buildinfo.read(written(tmp_path, start + rest[rest.index("Checksums-Sha256") :]))
    with pytest.raises(Problem, match="its changelog is not known"):
        options_of(record, BuildOptions(dsc=tmp_path, base=tmp_path, output=tmp_path))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=mutated(GOOD.encode()))
def test_a_damaged_one_is_read_or_refused_in_one_sentence(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "tiny.buildinfo"
    path.write_bytes(text)
    try:
        options_of(buildinfo.read(path), BuildOptions(dsc=path, base=tmp_path, output=tmp_path))
    except Problem as problem:
        told = str(problem)
    else:
        return
    assert told.isprintable()
    assert len(told) < 2000
