"""Which packages a root lacks of those that a .buildinfo names, which it has more, and which base is nearest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.rebuild import buildinfo, exact_root
from builder.rebuild.buildinfo import Binary, Record
from tests.builder.rebuild.test_buildinfo import GOOD, written

STATUS = """\
Package: dpkg
Status: install ok installed
Architecture: amd64
Version: 1.22

Package: {name}
Status: install ok installed
Architecture: {architecture}
Version: {version}
Description: a
 Version: 9

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


@pytest.fixture
def record(tmp_path: Path) -> Record:
    whole = buildinfo.read(written(tmp_path, GOOD))
    return replace(whole, installed=(Binary("dpkg", "amd64", "1.22"), Binary("tzdata", "amd64", "2")))


def make_root(place: Path, name: str, architecture: str, version: str) -> Path:
    (place / "var/lib/dpkg").mkdir(parents=True)
    text = STATUS.format(name=name, architecture=architecture, version=version)
    (place / "var/lib/dpkg/status").write_text(text)
    return place


def test_a_package_for_all_architectures_is_the_one_that_is_named_without(tmp_path: Path, record: Record) -> None:
    there = exact_root.installed(make_root(tmp_path / "root", "tzdata", "all", "2"))
    assert there == {Binary("dpkg", "amd64", "1.22"), Binary("tzdata", "all", "2")}
    assert exact_root.missing(record, there) == []
    assert exact_root.additional(record, there) == []


def test_another_version_is_missing_and_more(tmp_path: Path, record: Record) -> None:
    there = exact_root.installed(make_root(tmp_path / "root", "tzdata", "all", "3"))
    assert exact_root.missing(record, there) == [Binary("tzdata", "amd64", "2")]
    assert exact_root.additional(record, there) == [Binary("tzdata", "all", "3")]


def test_the_base_that_lacks_the_fewest_is_the_nearest(
    tmp_path: Path, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert exact_root.nearest_base(record) is None
    for name, version in (("far", "3"), ("near", "2"), ("other", "3")):
        home = tmp_path / "data/cowfs/bases" / name
        make_root(home / "tree.1", "tzdata", "all", version)
        (home / "current").symlink_to("tree.1")
    assert exact_root.nearest_base(record) == "near"
    assert exact_root.nearest_base(replace(record, build_architecture="arm64")) is None
