"""`cowbuild build --incremental`: only what changed is made again, and what a clean build says of the result."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.builder.packages import Workplace, for_both, log_of, make_source

# As make(1) would: of each a.in an a.out, where that is older. What the package contains is its debian/control.
MAKE = """
for file in debian/*.in; do
    [ $file -nt ${file%.in}.out ] && { echo making ${file%.in}; cp $file ${file%.in}.out; }
done
sed -i "/^# /d" debian/control
sed "s/^/# /" debian/*.out >> debian/control
"""


def source_of(work: Workplace, name: str, **content: str) -> Path:
    (work.place / name).mkdir()
    more = {f"{name}.in": f"{text}\n" for name, text in content.items()}
    return make_source(work.place / name, MAKE, more=more)


def made_of(work: Workplace, printed: str) -> list[str]:
    """What was made, in each of the builds of a log. The log and the artifacts go."""
    log = log_of(work.output)
    assert "E: dpkg" not in log, printed[-3000:]
    for path in work.output.iterdir():
        if not path.is_dir():
            path.unlink()
    return [" ".join(re.findall("^making debian/(.*)$", part, re.MULTILINE)) for part in log.split("| Build clean")]


@for_both
def test_only_what_changed_is_made_again_and_a_clean_build_tells_whether_that_was_right(work: Workplace) -> None:
    code, printed = work.build(source_of(work, "first", a="one", b="two", c="three"), "--incremental")
    assert (code, made_of(work, printed)) == (0, ["a b c"]), printed[-3000:]
    assert "there is no build tree of an earlier time" in printed

    code, printed = work.build(source_of(work, "second", a="one", b="other", c="three"), "--incremental", "--compare")
    assert code == 0, printed[-3000:]
    assert "\nIncremental: pass\n" in printed
    assert made_of(work, printed) == ["b", "a b c"]

    # What was made of a file that is gone stays, as it does with make: the clean build finds out.
    code, printed = work.build(source_of(work, "third", a="one", b="other"), "--incremental", "--compare")
    assert code == 2, printed[-3000:]
    assert "gone: ./debian/c.in\n" in printed
    assert "\nFail-Stage: incremental\n" in printed
    assert "\nIncremental: fail: tiny_1_amd64.deb\n" in printed
    assert made_of(work, printed) == ["", "a b"]

    # The tree that failed was a copy: the kept one has still what the second build left.
    [kept] = (work.cache / "cowfs/trees").iterdir()
    assert (kept.parent.stat().st_mode & 0o777, (kept / "tree/debian/c.in").read_text()) == (0o700, "three\n")


def test_other_options_or_packages_begin_clean(work: Workplace) -> None:
    dsc = source_of(work, "source", a="one")
    code, printed = work.build(dsc, "--incremental")
    assert code == 0, printed[-3000:]
    code, printed = work.build(dsc, "--incremental", "--profiles", "nodoc")
    assert (code, "not those of the last time, so this build is clean" in printed) == (0, True), printed[-3000:]
    assert "making debian/a" in printed


@pytest.mark.parametrize("words", [["--compare"], ["--incremental", "--source"], ["--incremental", "--twice"]])
def test_what_does_not_go_together_is_told(work: Workplace, words: list[str]) -> None:
    code, printed = work.build(work.place / "nothing.dsc", *words)
    assert code in (2, 3), printed
    code, printed = work.build(make_source(work.place), *words)
    assert (code, "--incremental" in printed) == (2, True), printed
