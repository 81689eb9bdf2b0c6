"""Builds that there were: told in order, compared with the last good one, their logs printed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builder.store import build_history
from builder.store.build_history import Change, PastBuild
from tests.builder.packages import COWBUILD, Workplace, for_both, make_source


def cowbuild(work: Workplace, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*work.base.owner.before, *COWBUILD, *words]
    return subprocess.run(command, env=work.environment, capture_output=True, text=True, check=False)


@for_both
def test_a_build_that_fails_where_one_succeeded_tells_what_is_installed_otherwise(
    work: Workplace, repository: tuple[Path, str]
) -> None:
    _place, address = repository
    dsc = make_source(work.place, "! dpkg --status special")
    code, printed = work.build(dsc)
    assert code == 0, printed[-3000:]
    words = ("--extra-repository", f"deb [trusted=yes] {address} ./", "--add-depends", "special")
    code, printed = work.build(dsc, *words)
    assert code == 2, printed[-3000:]
    assert " succeeded; 1 packages are others:\n  special 1 is new\n" in printed
    assert printed.index("special 1 is new") < printed.index("| Summary ")

    told = cowbuild(work, "history", "tiny").stdout.splitlines()
    assert [line.split()[0] for line in told] == ["1", "changed", "2"]
    assert told[1].strip() == "changed since 2, which succeeded: special 1 is new"
    assert "attempted (build)" in told[0]
    assert str(work.base.path) in told[0]
    assert " successful " in told[2]
    failed, succeeded = json.loads(cowbuild(work, "history", "--json").stdout)
    assert failed["changed"] == [{"name": "special", "before": "", "after": "1"}]
    assert (failed["succeeded"]["number"], succeeded["succeeded"]) == (2, None)
    assert cowbuild(work, "log", "tiny").stdout == Path(failed["log"]).read_text() == printed
    assert cowbuild(work, "log", "tiny", "2").stdout == Path(succeeded["log"]).read_text()

    Path(succeeded["log"]).unlink()
    for asked, code, why in (
        (("log", "tiny", "2"), 1, "cannot be read: No such file"),
        (("log", "tiny", "3"), 2, "There were 2 builds of tiny"),
        (("log", "tiny", "0"), 2, "must be at least 1"),
        (("history", "other"), 2, "Builds there were of: tiny"),
        (("history", "../tiny"), 2, "is no name of a source package"),
    ):
        done = cowbuild(work, *asked)
        assert (done.returncode, why in done.stderr) == (code, True), done.stderr


def test_a_history_that_cannot_be_written_fails_no_build(work: Workplace) -> None:
    (work.state / "cowfs").mkdir()
    (work.state / "cowfs/history").write_text("in the way")
    code, printed = work.build(make_source(work.place), "--nolog")
    assert code == 0
    assert "W: the history does not tell of this build: " in printed


def past(started: float, status: str = "successful", installed: str = "a_1 b_2", **other: str) -> PastBuild:
    fields = {
        "package": "tiny",
        "version": "1",
        "architecture": "amd64",
        "base": "sid",
        "stage": "",
        "log": "",
        **other,
    }
    return PastBuild(started=started, seconds=1.0, status=status, installed=installed, **fields)


def test_only_what_is_alike_is_compared_and_the_last_good_one_is_never_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(build_history, "KEPT", 3)
    build_history.add(past(1.0))
    for at in range(2, 8):
        build_history.add(past(float(at), "attempted", "a_1 b_3 c_1"))
    build_history.add(past(8.0, "successful", base="other"))
    known = build_history.of_package("tiny")
    assert [each.started for each in known] == [8.0, 7.0, 6.0]
    build_history.add(past(9.0, "attempted", "a_1 b_3 c_1", base="other"))
    found = build_history.suspects(past(9.0, "attempted", "b_3 c_1", base="other"), known)
    assert found == (known[0], [Change("a", "1", ""), Change("b", "2", "3"), Change("c", "", "1")])
    assert [str(each) for each in found[1]] == ["a 1 is gone", "b 2 -> 3", "c 1 is new"]
    assert build_history.suspects(past(9.0, "attempted"), known) is None
    # What is no record, or another package's, is passed over.
    place = tmp_path / "cowfs/history/tiny"
    (place / "2026-x.json").write_text("{}")
    record = next(place.glob("*.json")).read_text().replace('"tiny"', '"else"')
    (place / "2027-x.json").write_text(record)
    assert {each.package for each in build_history.of_package("tiny")} == {"tiny"}
    assert build_history.packages() == ["tiny"]


def test_how_long_a_package_takes_is_what_its_last_good_build_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert build_history.last_seconds("tiny") is None
    for started, seconds, status in ((1.0, 5.0, "successful"), (2.0, 7.0, "successful"), (3.0, 1.0, "attempted")):
        build_history.add(replace(past(started, status), seconds=seconds))
    assert build_history.last_seconds("tiny") == 7.0
    assert build_history.last_seconds("../tiny") is None
