"""Which base sbuild's --chroot, or the distribution, means."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from builder.problems import Misuse, Problem
from builder.sbuild import chroot
from builder.sbuild.chroot import Chroot
from builder.sbuild.variables import defaults
from tests.builder.sbuild.trees import debian_tree


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATA", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def base(place: Path, name: str, suite: str) -> None:
    home = place / "DATA/cowfs/bases" / name
    debian_tree(home / "tree.1", suite)
    (home / "current").symlink_to("tree.1")


def find(distribution: str = "unstable", **settings: Any) -> Chroot:
    return chroot.find({**defaults(), "build_arch": "amd64", **settings}, distribution)


def test_a_name_is_a_base_s_in_all_of_schroot_s_spellings(place: Path) -> None:
    base(place, "mine", "sid")
    for name in ("mine", "chroot:mine", "source:mine"):
        assert find(chroot=name) == Chroot("mine")


def test_the_distribution_finds_a_base_in_sbuild_s_order(place: Path) -> None:
    assert find("bookworm") == Chroot("bookworm-amd64", suite="bookworm")
    base(place, "other", "bookworm")
    assert find("bookworm") == Chroot("other")  # the only one of that suite
    for name in ("bookworm", "bookworm-amd64", "bookworm-sbuild", "bookworm-amd64-sbuild"):
        base(place, name, "bookworm")
        assert find("bookworm") == Chroot(name)


def test_unreleased_is_unstable_which_is_sid(place: Path) -> None:
    assert find("UNRELEASED") == Chroot("unstable-amd64", suite="unstable")
    base(place, "sid-amd64", "sid")
    assert find("UNRELEASED") == find("unstable") == find("sid") == Chroot("sid-amd64")
    base(place, "bullseye-amd64", "bullseye")
    assert find("lts", chroot_aliases={"lts": "bullseye"}) == Chroot("bullseye-amd64")


def test_a_tarball_is_known_by_its_content_wherever_it_is(place: Path) -> None:
    cache = place / "CACHE/sbuild"
    cache.mkdir(parents=True)
    tarball = cache / "unstable-amd64.tar.zst"
    tarball.write_bytes(b"content")
    name = "tarball-" + hashlib.sha256(b"content").hexdigest()[:16]
    wanted = Chroot(name, tarball=tarball)
    assert find() == find(chroot="unstable-amd64") == find(chroot=str(tarball)) == wanted
    base(place, name, "sid")
    assert find() == find(chroot=str(tarball.rename(place / "elsewhere"))) == Chroot(name)


def test_a_base_has_the_name_of_what_was_copied_whatever_comes_in_the_tarball_s_place(place: Path) -> None:
    (place / "base.tar").write_bytes(b"content")
    found = find(chroot="./base.tar")
    assert found.tarball is not None
    (place / "base.tar").write_bytes(b"other")
    copied = chroot.of_copy(found.tarball, place / "copy.tar")
    assert copied == Chroot("tarball-" + hashlib.sha256(b"other").hexdigest()[:16], tarball=place / "copy.tar")
    with pytest.raises(Problem, match="Cannot copy the tarball"):
        chroot.of_copy(place / "none", place / "another")


def test_of_tarballs_bases_a_few_are_kept(place: Path) -> None:
    for number in range(6):
        base(place, f"tarball-{number}", "sid")
    assert len(chroot.superfluous()) == 3
    assert find() == Chroot("unstable-amd64", suite="unstable")  # they are only for who names them


def test_a_directory_is_taken_where_a_debian_system_is_in_it(place: Path) -> None:
    tree = debian_tree(place / "tree")
    assert find(chroot=str(tree)) == find(chroot="./tree") == Chroot(str(tree))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"chroot": "no-such"}, "neither a base, nor a directory with a Debian system, nor a tarball"),
        ({"chroot": "/no/such.tar"}, "neither a base"),
        ({"chroot_mode": "autopkgtest"}, "no chroot mode autopkgtest"),
    ],
)
@pytest.mark.usefixtures("place")
def test_what_is_nothing_is_told(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        find(**settings)
