"""Why a build fails, or does not: in one sentence, where one reads it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.builder.packages import COWBUILD, Workplace, for_both, log_of, make_source


def test_a_build_may_rename_its_own_tree_and_people_be_written_in_latin_1(work: Workplace) -> None:
    dsc = make_source(work.place, "mv ../tiny-1 ../elsewhere")
    tree = work.place / "tiny-1"
    for name in ("control", "changelog"):
        file = tree / "debian" / name
        file.write_bytes(file.read_bytes().replace(b"Nobody", b"Andr\xe9"))
    subprocess.run(["dpkg-source", "-b", tree.name], cwd=work.place, check=True, capture_output=True)
    assert b"Andr\xe9" in dsc.read_bytes()
    code, printed = work.build(dsc)
    assert code == 0, printed
    assert list(work.output.glob("*.deb"))
    assert re.search(r"\nSpace: [0-9]+\n", log_of(work.output))


def test_a_build_that_removes_its_own_tree_loses_no_artifacts(work: Workplace) -> None:
    code, printed = work.build(make_source(work.place), "--debbuildopt", "--hook-done=rm -rf ../tiny-1")
    assert code == 0, printed
    assert list(work.output.glob("*.deb"))
    assert re.search(r"\nSpace: [0-9]+\n", log_of(work.output))


@pytest.mark.parametrize(
    ("make", "said"),
    [("ln -sf control {}", "is a symbolic link"), ("rm {}; mkdir {}", "is a directory")],
)
def test_an_artifact_that_is_no_file_is_named_with_what_it_is(work: Workplace, make: str, said: str) -> None:
    spoil = make.replace("{}", "../tiny_1_amd64.deb")
    code, printed = work.build(make_source(work.place), "--debbuildopt", f"--hook-done={spoil}")
    assert code == 2
    assert f"tiny_1_amd64.deb {said}" in printed


def test_of_several_the_reason_of_one_given_back_is_told(work: Workplace) -> None:
    place = work.place / "lacking"
    place.mkdir()
    packages = [make_source(work.place), make_source(place, name="lacking", depends="nosuchpackage (>= 3)")]
    code, printed = work.build(packages, "--parallel", "2")
    assert code == 3
    [line] = {line for line in printed.splitlines() if "cannot be installed" in line}  # at each of two tries
    assert line.startswith(f"{packages[1]}: install-deps: The build dependencies cannot be installed: ")
    assert "nosuchpackage" in line


@pytest.mark.root
def test_a_full_disk_is_said_to_be_one(work: Workplace) -> None:
    dsc = make_source(work.place)
    mount = 'mount -n -t tmpfs -o size=3m tmpfs "$TMPDIR" && exec "$@"'
    command = [*COWBUILD, "build", str(dsc), "--base", str(work.base.path), "--output", str(work.output)]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", *command, "--apt-update", "--no-deps-cache"],
        env=work.environment,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 3, done.stdout
    assert "\nE: The archives' lists cannot be had: the disk is full\n" in done.stdout


@for_both
def test_a_home_that_cannot_be_made_is_told(work: Workplace) -> None:
    dsc = make_source(work.place)
    (work.place / "file").write_text("")
    environment = work.environment
    for kind in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME"):
        given = {**environment, kind: str(work.place / "file/nothing")}
        words = ["build", str(dsc), "--base", str(work.base.path), "--output", str(work.output)]
        words += ["--purge-session=never"] if kind == "XDG_STATE_HOME" else []
        words = ["create", "sid"] if kind == "XDG_DATA_HOME" else words
        command = [*work.base.owner.before, *COWBUILD, *words]
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        said = f"cowbuild: Cannot make the directory {work.place}/file/nothing/cowfs/"
        assert done.stderr.startswith(said), done.stderr
        assert kind in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--suite", "nosuch"], "The suite nosuch cannot be had from .*: there is no such suite"),
        (["--arch", "m68k"], "The suite [a-z]+ has no architecture m68k"),
        (["--components", "nosuch"], "The suite [a-z]+ has no component nosuch"),
        (["--mirror", "http://127.0.0.1:9/debian"], "The suite .*: an archive cannot be reached over the network"),
    ],
)
def test_what_no_archive_has_is_told_before_a_base_is_begun(tmp_path: Path, words: list[str], said: str) -> None:
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "TMPDIR": str(tmp_path)}
    command = [*COWBUILD, "create", "new", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    complaints = [line for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert len(complaints) == 1
    assert re.match(f"cowbuild: {said}", complaints[0])
