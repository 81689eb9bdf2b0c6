"""What a build may put into the user's directory, and what of it may be replaced."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from builder.build import artifacts, outputs
from builder.build.artifacts import Artifacts
from builder.problems import Problem
from tests.builder.packages import Workplace, make_source

# debian/script: one more line in debian/files, of which dpkg-genchanges makes one in the .changes.
BY_HAND = "echo hostile > ../{name}; echo '{name} misc optional' >> debian/files"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    place = tmp_path / "output"
    place.mkdir()
    return place


def package(place: Path, name: str, source: str = "", content: str = "1") -> bytes:
    """A real binary package, of its own source or of another."""
    tree = place / f"{name}-tree"
    (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
    of_source = f"Source: {source}\n" if source else ""
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\n{of_source}Version: 1\nArchitecture: all\nMaintainer: N <n@localhost>\nDescription: x\n"
    )
    (tree / "content").write_text(content)
    built = place / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, built], check=True, capture_output=True)
    return built.read_bytes()


def made(place: Path, files: Mapping[str, bytes]) -> Artifacts:
    """Artifacts as they were taken, with a .changes before them."""
    staging = place / f"staging-{os.urandom(4).hex()}"
    staging.mkdir()
    named = {"tiny_1_amd64.changes": changes("tiny"), **files}
    for name, content in named.items():
        (staging / name).write_bytes(content)
    return Artifacts(staging, tuple(named), 0)


def changes(source: str, *listed: str) -> bytes:
    lines = "".join(f" {hashlib.md5(b'').hexdigest()} 0 misc optional {name}\n" for name in listed)
    return f"Format: 1.8\nSource: {source}\nVersion: 1\nFiles:\n{lines}".encode()


@pytest.mark.parametrize(
    "name",
    [
        *("tiny_1-2_amd64.deb", "libtiny3_1-2_all.deb", "tiny-dbgsym_1-2_amd64.ddeb", "tiny-udeb_1-2_amd64.udeb"),
        *("tiny-defaults_4%3_all.deb".replace("%", "."), "gcc_13.2.0-1+b1_amd64.deb", "g++_4~rc1_amd64.deb"),
        *("tiny_1-2_amd64.changes", "tiny_1-2_all.buildinfo", "tiny_1-2_source.changes", "tiny_1-2.dsc"),
        *("tiny_1-2.debian.tar.xz", "tiny_1-2.diff.gz", "tiny_1.orig.tar.gz", "tiny_1.orig-data.tar.xz.asc"),
        *("tiny_1-2_amd64.tar.gz", "tiny-images_1-2_amd64.tar.gz", "tiny_1-2_all.exe"),
        *("tiny_1-2_amd64_translations.tar.gz", "tiny_1-2.tar.xz", "tiny_1-2.git"),
    ],
)
def test_what_dpkg_makes_has_a_name_that_fits(name: str) -> None:
    assert outputs.Names("tiny", "2:1-2").fits(name)


@pytest.mark.parametrize(
    "name",
    [
        *("Makefile", "GNUmakefile", "configure", "id_rsa", "a", "setup.py", "README.txt", "tiny"),
        *("tiny.deb", "tiny_1.deb", "tiny_1-2_amd64_x.deb", "tiny_1-2_amd64.x.changes"),
        *("tiny_2.dsc", "tiny_2.orig.tar.gz", "other_1-2.dsc", "other_1.orig.tar.gz", "other_1-2_amd64.changes"),
        *("other_1-2_amd64.buildinfo", "tiny_2_amd64.changes", "tiny_2_amd64.tar.gz", "tiny_1-2_amd64.build"),
        *("tiny_1-2_amd64.trace.json", "tiny_1-2_amd64.deb.diffoscope.html", "tiny_1-2_amd64.second"),
        *("tiny_1-2_amd64.deb/x", "tiny_1-2_amd64.deb\n", "Tiny_1-2_amd64.deb", "tiny_1-2_amd64.DEB"),
        *("tiny_2:1-2_amd64.deb", "-x_1-2_amd64.deb"),
    ],
)
def test_any_other_name_does_not_fit(name: str) -> None:
    assert not outputs.Names("tiny", "2:1-2").fits(name)


def refused(taken: Artifacts, output: Path, match: str, **how: bool) -> None:
    """Publishing is refused by name; what is in the directory stays, and all that is new is in one of its own."""
    before = {path.name: path.lstat() for path in output.iterdir()}
    with pytest.raises(Problem, match=match) as raised:
        artifacts.publish(taken, output, **how)
    after = {path.name: path.lstat() for path in output.iterdir()}
    [place] = after.keys() - before.keys()
    assert place.startswith("tiny_1_amd64")
    assert place in raised.value.hint
    assert sorted(os.listdir(output / place)) == sorted(taken.names)
    assert {name: (each.st_ino, each.st_mtime_ns) for name, each in before.items()} == {
        name: (after[name].st_ino, after[name].st_mtime_ns) for name in before
    }


def test_a_name_that_is_not_dpkgs_is_refused_also_where_nothing_has_it(tmp_path: Path, output: Path) -> None:
    taken = made(tmp_path, {"Makefile": b"all: ; evil"})
    refused(taken, output, "Makefile is no name that dpkg gives")
    (output / "Makefile").write_text("mine")
    refused(taken, output, "Makefile is no name that dpkg gives")
    assert (output / "Makefile").read_text() == "mine"


def test_the_same_package_is_built_again_into_the_same_directory(tmp_path: Path, output: Path) -> None:
    for content in ("1", "2"):
        deb = package(tmp_path, "libtiny", source="tiny (1)", content=content)
        udeb = package(tmp_path, "tiny", content=content)
        files = {"libtiny_3_all.deb": deb, "tiny_1_amd64.udeb": udeb, "tiny_1_amd64.tar.gz": content.encode()}
        taken = made(tmp_path, files)
        (taken.directory / taken.names[0]).write_bytes(changes("tiny", *files))
        artifacts.publish(taken, output)
        assert sorted(os.listdir(output)) == sorted(taken.names)
        assert {name: (output / name).read_bytes() for name in files} == files


UserFile = Callable[[Path, Path], object]


@pytest.mark.parametrize(
    "there",
    [
        lambda path, place: path.write_bytes(package(place, "tiny", source="other")),
        lambda path, place: path.write_bytes(package(place, "other")),
        lambda path, _place: path.write_text("notes of mine"),
        lambda path, _place: path.touch(),
        lambda path, _place: path.mkdir(),
        lambda path, _place: os.mkfifo(path),
    ],
    ids=["another source's", "another package", "text", "empty", "directory", "fifo"],
)
def test_a_package_replaces_nothing_but_its_sources(tmp_path: Path, output: Path, there: UserFile) -> None:
    there(output / "tiny_1_all.deb", tmp_path)
    taken = made(tmp_path, {"tiny_1_all.deb": package(tmp_path, "tiny", content="new")})
    refused(taken, output, "tiny_1_all.deb is there")


@pytest.mark.parametrize("name", [f"tiny_1{end}" for end in ("_all.changes", "_all.buildinfo", "_all.tar.gz", ".dsc")])
def test_a_text_of_the_users_is_not_replaced(tmp_path: Path, output: Path, name: str) -> None:
    (output / name).write_text("Source: notes\nof mine\n")
    taken = made(tmp_path, {name: b"Source: tiny\n"})
    refused(taken, output, f"{name} is there", source_built=True)


@pytest.mark.parametrize("name", ["tiny_1.dsc", "tiny_1.tar.xz", "tiny_1.orig.tar.xz"])
def test_the_source_is_replaced_only_when_it_was_asked_for(tmp_path: Path, output: Path, name: str) -> None:
    (output / name).write_text("Source: tiny\n")
    artifacts.publish(made(tmp_path, {name: b"Source: tiny\n"}), output)
    refused(made(tmp_path, {name: b"Source: tiny\nEvil: yes\n"}), output, f"{name} is there")
    if ".orig." in name:
        refused(made(tmp_path, {name: b"Source: tiny\nEvil: yes\n"}), output, f"{name} is there", source_built=True)
    else:
        artifacts.publish(made(tmp_path, {name: b"Source: tiny\nNew: yes\n"}), output, source_built=True)
        assert b"New" in (output / name).read_bytes()


def test_what_cannot_be_written_whole_leaves_all_as_it_was(tmp_path: Path, output: Path) -> None:
    old, new = (package(tmp_path, "tiny", content=content) for content in ("old", "new"))
    (output / "tiny_1_all.deb").write_bytes(old)
    taken = made(tmp_path, {"tiny_1_all.deb": new, "tiny_1_amd64.buildinfo": b"Source: tiny\n"})
    # Of the three, one cannot be read.
    (taken.directory / taken.names[0]).unlink()
    with pytest.raises((Problem, FileNotFoundError)):
        outputs.put(taken.directory, reversed(taken.names), output)
    assert os.listdir(output) == ["tiny_1_all.deb"]
    assert (output / "tiny_1_all.deb").read_bytes() == old


@pytest.mark.parametrize("there", ["text", "link", "directory"])
def test_a_report_takes_another_name_beside_what_is_no_report(tmp_path: Path, output: Path, there: str) -> None:
    wanted, precious = output / "tiny_1_amd64.trace.json", tmp_path / "precious"
    precious.write_text("precious")
    make: dict[str, Callable[[], object]] = {
        "text": lambda: wanted.write_text("mine"),
        "link": lambda: wanted.symlink_to(precious),
        "directory": wanted.mkdir,
    }
    make[there]()
    for text in ("report 1", "report 2"):
        written = outputs.put_text(text, wanted, mark=b"report")
        assert written == output / "tiny_1_amd64.trace-2.json"
        assert written.read_text() == text
    assert precious.read_text() == "precious"
    assert there != "text" or wanted.read_text() == "mine"


def test_a_build_takes_the_place_of_nothing_of_the_users(work: Workplace) -> None:
    """The log's link, the artifacts and what lists them, in one build and in the next of the same source."""
    (work.output / "Makefile").write_text("mine")
    (work.output / "tiny_1_amd64.build").write_text("debuild's log")
    dsc = make_source(work.place, BY_HAND.format(name="Makefile"))
    code, printed = work.build(dsc)
    assert code == 1, printed[-2000:]
    assert "Makefile is no name that dpkg gives to what it makes of tiny 1\n" in printed
    assert "\nFail-Stage: store-artifacts\n" in printed
    assert (work.output / "Makefile").read_text() == "mine"
    assert (work.output / "tiny_1_amd64.build").read_text() == "debuild's log"
    assert not list(work.output.glob("*.deb"))
    kept = {path.name for path in (work.output / "tiny_1_amd64.artifacts").iterdir()}
    assert {"Makefile", "tiny_1_amd64.changes", "tiny_1_amd64.deb"} <= kept
