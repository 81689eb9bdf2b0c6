"""Reverse build dependencies and rebuilds, of an archive of a few packages made for it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.builder.packages import COWBUILD, Workplace, make_source

LIBRARY = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: Nobody <nobody@localhost>
{relations}Description: made by a test
"""

# Which packages build-depend on the library, and what their builds ask of it.
SOURCES: Mapping[str, tuple[str, str]] = {
    "fine": ("test -e /usr/share/tinylib/api", "dpkg-dev, tinylib"),
    "planted": ("echo the build says; grep -q old /usr/share/tinylib/api", "dpkg-dev, tinylib-virtual [linux-any]"),
    "broken-before": ("exit 1", "dpkg-dev, tinylib"),
    "mended": ("grep -q new /usr/share/tinylib/api", "dpkg-dev, tinylib"),
    "not-here": ("exit 1", "dpkg-dev, tinylib [sparc64]"),
    "unrelated": ("[[ $DEB_BUILD_OPTIONS != *nocheck* ]]", "dpkg-dev"),
    "by-way-of-another": ("true", "dpkg-dev, middle"),
}


# What is wanted is in the base or in the archive of the test; to read Debian's lists takes longer than these builds.
FORGET_ARCHIVE = "rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*"


def make_package(place: Path, name: str, version: str, api: str, relations: str = "") -> Path:
    tree = place / f"{name}-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(LIBRARY.format(name=name, version=version, relations=relations))
    (tree / f"usr/share/{name}").mkdir(parents=True)
    (tree / f"usr/share/{name}/api").write_text(api)
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", tree], check=True)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, place], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree)
    return place / f"{name}_{version}_all.deb"


def make_archive(place: Path) -> Path:
    """A flat one, with no Release file, in `place`."""
    place.mkdir()
    make_package(place, "tinylib", "1", "old", "Provides: tinylib-virtual\n")
    make_package(place, "middle", "1", "", "Depends: tinylib\n")
    for name, (script, depends) in SOURCES.items():
        make_source(place, script, name=name, depends=depends)
        shutil.rmtree(place / f"{name}-1")
    for tool, index in (("dpkg-scanpackages", "Packages"), ("dpkg-scansources", "Sources")):
        printed = subprocess.check_output([tool, "."], cwd=place, stderr=subprocess.DEVNULL)
        (place / index).write_bytes(printed)
    return place


def make_changes(place: Path, version: str = "0.9") -> Path:
    """Of a new library, by itself with a version that apt would not take by itself."""
    place.mkdir()
    package = make_package(place, "tinylib", version, "new", "Provides: tinylib-virtual\n")
    data = package.read_bytes()
    digest, size = hashlib.sha256(data).hexdigest(), len(data)
    changes = place / f"tinylib_{version}_amd64.changes"
    changes.write_text(
        f"Format: 1.8\nSource: tinylib\nBinary: tinylib\nArchitecture: all\nVersion: {version}\n"
        f"Checksums-Sha256:\n {digest} {size} {package.name}\n"
        f"Files:\n {hashlib.md5(data).hexdigest()} {size} misc optional {package.name}\n"
    )
    return changes


@pytest.fixture
def archive(work: Workplace, repository_address: str) -> Sequence[str]:
    """The options by which sources are found in it, and those by which builds have it."""
    return (
        *("--archive", f"deb-src [trusted=yes] {repository_address} ./"),
        *("--archive", f"deb [trusted=yes] {repository_address} ./"),
        "--",
        *("--base", str(work.base.path), "--extra-repository", f"deb [trusted=yes] {repository_address} ./"),
        *("--no-apt-update", "--chroot-setup-commands", FORGET_ARCHIVE),
    )


@pytest.fixture
def repository_address(work: Workplace, served: Callable[[Path], str]) -> str:
    return served(make_archive(work.place / "archive"))


def run(work: Workplace, *words: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [*work.base.owner.before, *COWBUILD, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=work.environment,
        cwd=work.output,
        check=False,
    )
    work.assert_nothing_left()
    return done.returncode, done.stdout


def test_regressions_are_told_from_what_was_broken_before(work: Workplace, archive: Sequence[str]) -> None:
    changes = make_changes(work.place / "new")
    code, printed = run(work, "rdeps", changes, "--baseline", "--no-retry-failed", "--parallel", "2", *archive)
    assert code == 2, printed
    place = work.output / "tinylib_0.9_amd64.rdeps"
    told = json.loads((place / "rdeps.json").read_text())
    assert {row["package"]: row["verdict"] for row in told["rows"]} == {
        "broken-before": "broken before",
        "fine": "fine",
        "mended": "fixed",
        "planted": "regression",
    }
    [planted] = [row for row in told["rows"] if row["package"] == "planted"]
    assert [(each["conditions"], each["state"]) for each in planted["builds"]] == [
        ("with", "attempted"),
        ("without", "successful"),
    ]
    log = (place / planted["builds"][0]["log"]).read_text()
    assert "\nthe build says\n" in log
    assert not list(place.rglob("*.deb"))
    page = (place / "rdeps.html").read_text()
    assert 'id="package-verdict"' in page
    assert page.count('href="with/') == 4
    assert "4 packages: 1 regression, 1 broken before, 1 fixed, 1 fine" in printed
    # Everything is known already.
    code, printed = run(work, "rdeps", changes, "--baseline", "--no-retry-failed", "--resume", *archive)
    assert code == 2
    assert ": started" not in printed
    (changes.parent / "tinylib_0.9_all.deb").write_bytes(b"")
    code, printed = run(work, "rdeps", changes, "--resume", *archive)
    assert "is not the file that" in printed


def test_which_build_depend_on_it_is_said_without_building(work: Workplace, archive: Sequence[str]) -> None:
    code, printed = run(work, "rdeps", "tinylib", "--dry-run", *archive)
    direct = ["broken-before_1", "fine_1", "mended_1", "planted_1"]
    assert (code, printed.splitlines()[-4:]) == (0, direct)
    code, printed = run(work, "rdeps", "tinylib", "--dry-run", "--transitive", *archive)
    assert "by-way-of-another_1" in printed.splitlines()
    assert "unrelated_1" not in printed
    rank = work.place / "by_inst"
    rank.write_text("#rank name inst\n1 mended 9 9\n2 fine 8 8\n")
    popular = ("--limit", "2", "--popularity", str(rank))
    assert run(work, "rdeps", "tinylib", "--dry-run", *popular, *archive)[1].splitlines()[-2:] == ["fine_1", "mended_1"]
    some = [run(work, "rdeps", "tinylib", "--dry-run", "--limit", "2", "--seed", seed, *archive)[1] for seed in "112"]
    assert some[0] == some[1]
    for words, said in (
        ([str(make_changes(work.place / "same", "1"))], "The archive has tinylib 1, too"),
        (["nothing-such"], "has neither a source nor a package nothing-such"),
        (["tinylib", "--archive", "deb-src [trusted=yes] file:///nonexistent ./"], "Cannot fetch the lists of sources"),
    ):
        code, printed = run(work, "rdeps", *words, "--dry-run", *archive)
        assert code != 0
        assert said in printed
        assert "Traceback" not in printed


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_an_archive_is_built_again_under_conditions(work: Workplace, archive: Sequence[str]) -> None:
    wanted = ("--filter", "*-*", "--filter", "Package=^(un|by-w)", "--variants", "usual,nocheck")
    code, printed = run(
        work,
        "rebuild-archive",
        "--filter",
        "un*",
        *wanted[4:],
        "--no-retry-failed",
        "--keep-artifacts",
        "--output",
        "some/where",
        *archive,
    )
    assert code == 2, printed
    place = work.output / "some/where"
    [row] = json.loads((place / "rebuild.json").read_text())["rows"]
    assert (row["package"], row["verdict"]) == ("unrelated", "differs")
    assert [(each["conditions"], each["state"]) for each in row["builds"]] == [
        ("usual", "successful"),
        ("nocheck", "attempted"),
    ]
    assert [path.parent.name for path in place.rglob("*.deb")] == ["unrelated_1"]
    code, printed = run(work, "rebuild-archive", "--dry-run", *wanted, *archive)
    assert printed.splitlines()[-1] == "by-way-of-another_1"
    listed = work.place / "list"
    listed.write_text("fine\nunrelated\n")
    code, printed = run(work, "rebuild-archive", "--dry-run", "--list-file", str(listed), *archive)
    assert printed.splitlines()[-2:] == ["fine_1", "unrelated_1"]
    code, printed = run(work, "rebuild-archive", "--variants", "odd", *archive)
    assert code == 2
    assert "There is no variant 'odd'" in printed
