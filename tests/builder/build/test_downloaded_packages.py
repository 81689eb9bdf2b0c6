"""Packages that one build has downloaded and the next need not, from a web server of this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.builder.conftest import Recording
from tests.builder.packages import COWBUILD, Workplace, make_source


def source(work: Workplace, name: str) -> Path:
    place = work.place / name
    place.mkdir()
    look = "dpkg --status special && ! ls /var/cache/apt/archives/*.deb"
    return make_source(place, look, name=name, depends="special")


def words(address: str) -> tuple[str, ...]:
    return ("--extra-repository", f"deb [trusted=yes] {address} ./")


def downloads() -> int:
    return sum(path.endswith(".deb") for path in Recording.asked)


def kept(work: Workplace) -> list[Path]:
    return sorted((work.cache / "cowfs/packages").iterdir())


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_a_package_is_downloaded_once_and_again_where_what_is_kept_is_not_it(
    work: Workplace, repository: tuple[Path, str]
) -> None:
    place, address = repository
    for number, name in enumerate(("one", "two")):
        code, printed = work.build(source(work, name), *words(address))
        assert code == 0, printed[-3000:]
        assert ("1 of 1 packages are there from earlier builds" in printed) == bool(number)
    assert downloads() == 1
    [package] = kept(work)
    right = (place / "special.deb").read_bytes()
    assert package.read_bytes() == right
    package.write_bytes(b"x" * len(right))
    code, printed = work.build(source(work, "three"), *words(address))
    assert code == 0, printed[-3000:]
    assert "from earlier builds" not in printed
    assert downloads() == 2
    assert package.read_bytes() == right
    listed = subprocess.check_output([*COWBUILD, "cache", "list"], env=work.environment, text=True)
    assert listed.splitlines()[-1] == "1 downloaded packages, 0 MiB"


def test_two_builds_at_once_share_and_none_is_kept_where_that_is_not_wanted(
    work: Workplace, repository: tuple[Path, str]
) -> None:
    _place, address = repository
    code, printed = work.build(source(work, "alone"), *words(address), "--downloads-size", "0")
    assert code == 0, printed[-3000:]
    assert not (work.cache / "cowfs/packages").exists()
    with (
        work.start(source(work, "one"), *words(address)) as one,
        work.start(source(work, "two"), *words(address)) as two,
    ):
        for each in (one, two):
            said, _nothing = each.communicate()
            assert each.returncode == 0, said[-3000:]
    assert len(kept(work)) == 1
    subprocess.run([*COWBUILD, "cache", "prune"], env=work.environment, check=True)
    assert kept(work) == []


def test_lists_of_the_base_that_are_young_enough_are_taken_as_they_are_and_that_is_said(work: Workplace) -> None:
    for age, asks in ((10**9, False), (1, True)):
        command: list[str | Path] = [
            *COWBUILD,
            "build",
            source_without_dependencies(work, f"age{age}"),
            "--base",
            work.base.path,
        ]
        command += ["--output", work.output, "--no-deps-cache", "--apt-update-age", str(age)]
        done = subprocess.run(command, env=work.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:]
        assert ("apt-get update: not needed, the base's lists are of 20" in done.stdout) != asks
        assert ("InRelease" in done.stdout) == asks


def source_without_dependencies(work: Workplace, name: str) -> Path:
    (work.place / name).mkdir()
    return make_source(work.place / name, name=name)
