"""Whole builds in real sessions: what they make, how they fail, what they leave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builder.packages import Workplace, archive_source, for_both, log_of, make_source

SECTIONS = (
    "Fetch source files",
    "Install package build dependencies",
    "Check architectures",
    "Build environment",
    "Build",
    "Changes",
    "Buildinfo",
    "Package contents",
    "Cleanup",
    "Summary",
)


@for_both
def test_a_build_makes_packages_a_log_and_nothing_else(work: Workplace) -> None:
    code, printed = work.build(make_source(work.place))
    assert code == 0
    log = log_of(work.output)
    assert log == printed
    positions = [log.index(f"| {section} ") for section in SECTIONS]
    assert positions == sorted(positions)
    assert "\nStatus: successful\n" in log
    assert "Fail-Stage" not in log
    assert re.search(r"\n-+\nBuild finished at \S+Z\n", log)
    assert re.search(r"\nPackage-Time: \d+\n", log)
    kinds = sorted(path.suffix for path in work.output.iterdir())
    assert kinds == [".build", ".build", ".buildinfo", ".changes", ".deb"]
    [package] = work.output.glob("*.deb")
    contents = subprocess.check_output(["dpkg-deb", "--contents", package], text=True)
    assert "./usr/share/tiny/control" in contents


@for_both
def test_paths_may_have_blanks_colons_and_worse(work: Workplace) -> None:
    base = replace(work.base, path=work.place / "a b:c,d\\e/sid:amd64")
    odd = Workplace(base.path.parent, base)
    for directory in (odd.place, odd.sessions, odd.output, odd.cache, odd.state):
        directory.mkdir()
        os.chown(directory, work.place.stat().st_uid, -1)
    base.path.symlink_to(work.base.path)
    code, printed = odd.build(make_source(odd.place))
    assert code == 0, printed
    assert list(odd.output.glob("*.deb"))


@pytest.mark.slow
def test_hello_of_the_archive_builds_with_its_dependencies(work: Workplace) -> None:
    dsc = archive_source("hello", work.place)
    code, printed = work.build(dsc, "--apt-update")
    assert code == 0, printed[-3000:]
    [package] = work.output.glob("hello_*.deb")
    assert "./usr/bin/hello" in subprocess.check_output(["dpkg-deb", "--contents", package], text=True)


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_a_failing_build_names_its_stage_and_keeps_the_log(work: Workplace) -> None:
    code, _printed = work.build(make_source(work.place, "echo about to fail; exit 3"))
    assert code == 2
    log = log_of(work.output)
    assert "about to fail" in log
    assert "\nFail-Stage: build\n" in log
    assert "\nStatus: attempted\n" in log
    assert [path.suffix for path in work.output.iterdir() if not path.is_symlink()] == [".build"]


def test_dependencies_that_do_not_exist_give_the_package_back(work: Workplace) -> None:
    code, _printed = work.build(make_source(work.place, depends="there-is-no-such-package"))
    assert code == 3
    assert "\nFail-Stage: install-deps\n" in log_of(work.output)


def test_a_source_for_another_architecture_is_skipped(work: Workplace) -> None:
    code, _printed = work.build(make_source(work.place, architecture="hurd-any"))
    assert code == 0
    assert "\nStatus: skipped\n" in log_of(work.output)


def test_a_changed_source_file_is_refused(work: Workplace) -> None:
    dsc = make_source(work.place, "echo the script ran")
    [tarball] = work.place.glob("*.tar.*")
    content = bytearray(tarball.read_bytes())
    content[-1] ^= 1
    tarball.write_bytes(content)
    code, printed = work.build(dsc)
    assert code == 3
    assert "\nFail-Stage: fetch-src\n" in log_of(work.output)
    assert "the script ran" not in printed


def test_a_source_that_names_files_elsewhere_is_refused(work: Workplace) -> None:
    dsc = make_source(work.place)
    [tarball] = work.place.glob("*.tar.*")
    dsc.write_text(dsc.read_text().replace(tarball.name, f"../{tarball.name}"))
    code, printed = work.build(dsc)
    assert code == 3
    assert "forbidden name" in printed
    assert not list(work.output.iterdir())


def test_a_link_in_the_place_of_an_artifact_is_replaced_not_followed(work: Workplace) -> None:
    precious = work.place / "precious"
    precious.write_text("kept")
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    (work.output / f"tiny_1_{architecture}.deb").symlink_to(precious)
    code, _printed = work.build(make_source(work.place))
    assert code == 0
    assert precious.read_text() == "kept"
    assert not (work.output / f"tiny_1_{architecture}.deb").is_symlink()


def test_a_build_that_falls_silent_is_ended(work: Workplace) -> None:
    code, _printed = work.build(make_source(work.place, "sleep 1000"), "--silence-limit", "2")
    assert code == 2
    assert "no output for 2 seconds" in log_of(work.output)


INSTALLING, BUILDING = "Install package build dependencies", "the build is on its way"


# Each signal at each moment, each moment and each signal as either person.
@pytest.mark.parametrize(
    ("number", "moment", "work"),
    [
        (signal.SIGINT, INSTALLING, "user"),
        (signal.SIGINT, BUILDING, "root"),
        (signal.SIGTERM, INSTALLING, "root"),
        (signal.SIGTERM, BUILDING, "user"),
        (signal.SIGKILL, INSTALLING, "user"),
        (signal.SIGKILL, BUILDING, "root"),
    ],
    indirect=["work"],
)
def test_a_signal_ends_everything(work: Workplace, number: signal.Signals, moment: str) -> None:
    script = "echo the build is on its way; sleep 1000 & setsid sleep 1000 & sleep 1000"
    with work.start(make_source(work.place, script)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if moment in line:
                break
        else:
            pytest.fail("the build ended by itself")
        os.kill(process.pid, number)
        process.communicate()
    work.assert_nothing_left()
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        log = log_of(work.output)
        assert "interrupted in stage" in log, log
        assert "\nStatus: failed\n" in log


@for_both
def test_what_a_killed_machine_left_is_removed_by_the_next_build(work: Workplace) -> None:
    """The remover killed together with the rest: only then does anything stay, until somebody builds again."""
    with work.start(make_source(work.place, "echo the build is on its way; sleep 1000")) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "the build is on its way" in line:
                break
        removers = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if b"cowbuild-remover" in path.read_bytes() and os.fsencode(work.sessions) in path.read_bytes()
        ]
        for each in [*removers, process.pid]:
            os.kill(each, signal.SIGKILL)
        process.communicate()
    assert list(work.sessions.iterdir())
    other = work.place / "other"
    other.mkdir()
    code, _printed = work.build(make_source(other))
    assert code == 0
