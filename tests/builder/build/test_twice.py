"""`cowbuild build --twice`: a build that depends on the order of directory entries is caught."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.build import comparison
from builder.build.artifacts import Artifacts
from tests.builder.packages import Workplace, log_of, make_source

# What the package contains is its debian/control.
UNSORTED = "ls -U debian | sed 's/^/# /' >> debian/control"
SORTED = "ls debian | sed 's/^/# /' >> debian/control"
BLOCKS = "stat -c '# %b' debian/rules >> debian/control"


def test_a_build_that_depends_on_the_order_of_directory_entries_is_caught(work: Workplace) -> None:
    code, printed = work.build(make_source(work.place, UNSORTED), "--twice", "--trace")
    assert code == 2, printed[-2000:]
    log = log_of(work.output)
    assert "  dpkg-dev                         used\n" in log
    assert "\nStatus: attempted\n" in log
    assert "\nFail-Stage: reproducible\n" in log
    assert "\nReproducible: fail: tiny_1_amd64.deb\n" in log
    first, second = work.output / "tiny_1_amd64.deb", work.output / "tiny_1_amd64.second/tiny_1_amd64.deb"
    assert first.read_bytes() != second.read_bytes()
    assert [path.name for path in second.parent.iterdir()] == [second.name]
    report = work.output / "tiny_1_amd64.deb.diffoscope.html"
    assert f"What differs: {report}\n" in log
    assert "usr/share/tiny/control" in report.read_text()


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_a_build_that_sorts_is_the_same_twice(work: Workplace) -> None:
    code, printed = work.build(make_source(work.place, SORTED), "--twice", "--trace", "--deps-cache")
    assert code == 0, printed[-2000:]
    log = log_of(work.output)
    assert "\nReproducible: pass\n" in log
    assert log.count("Command: dpkg-buildpackage") == 2
    assert sorted(path.name for path in work.output.iterdir() if not path.name.endswith(".build")) == [
        *("tiny_1_amd64.buildinfo", "tiny_1_amd64.changes", "tiny_1_amd64.deb"),
        *("tiny_1_amd64.trace.html", "tiny_1_amd64.trace.json"),
        *("tiny_1_amd64.vary.html", "tiny_1_amd64.vary.json"),
    ]


def test_a_second_build_that_fails_is_said_to_be_the_second(work: Workplace) -> None:
    script = f"{BLOCKS}; test $(stat -c %b debian/rules) -le 8"
    code, printed = work.build(make_source(work.place, script), "--twice")
    assert code == 2, printed[-2000:]
    log = log_of(work.output)
    assert "\nReproducible: fail: the second build did not succeed\n" in log
    assert "\nFail-Stage: build\n" in log


def _made(place: Path, **content: str) -> Artifacts:
    place.mkdir()
    for name, text in content.items():
        (place / name.replace("_dot_", ".")).write_text(text)
    return Artifacts(place, tuple(path.name for path in place.iterdir()), 0)


def test_only_what_is_built_is_compared_and_by_its_bytes(tmp_path: Path) -> None:
    first = _made(tmp_path / "1", a_dot_deb="same", b_dot_deb="one", c_dot_deb="first", x_dot_changes="1")
    second = _made(tmp_path / "2", a_dot_deb="same", b_dot_deb="two", d_dot_deb="second", x_dot_changes="2")
    assert comparison.differing(first, second) == ["b.deb", "c.deb", "d.deb"]
