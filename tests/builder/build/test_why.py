"""Why a build failed: what real tools say, the line of it that matters, what is missing and which package has it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from builder.build import why
from tests.builder.packages import Workplace, for_both, log_of, make_source

MISSING = {
    "foo.c:1:10: fatal error: zlib.h: No such file or directory": "zlib.h",
    "/usr/bin/ld: cannot find -lz: No such file or directory": "libz.so",
    "Package 'zlib', required by 'virtual:world', not found": "zlib.pc",
    "No package 'zlib' found": "zlib.pc",
    'meson.build:3:0: ERROR: Dependency "zlib" not found, tried pkgconfig': "zlib.pc",
    "/bin/sh: 1: txt2man: not found": "txt2man",
    "bash: line 1: txt2man: command not found": "txt2man",
    "make[1]: txt2man: No such file or directory": "txt2man",
    "ModuleNotFoundError: No module named 'yaml.loader'": "the Python module yaml.loader",
    "Can't locate Foo/Bar.pm in @INC (you may need to install the Foo::Bar module)": "the Perl module Foo::Bar",
    "dh: error: unable to load addon python3: Can't locate Debian/Debhelper/Sequence/python3.pm in @INC": (
        "debhelper's add-on python3"
    ),
}


def test_each_tool_s_words_for_what_it_misses_are_known() -> None:
    after = "\nmake: *** [debian/rules:4: binary] Error 25\ndpkg-buildpackage: error: debian/rules binary failed\n"
    for line, what in MISSING.items():
        found = why.diagnose(f"cc -c x.c\n{line}{after}")
        assert found.line == line
        assert found.missing is not None
        assert found.missing.what == what


def test_the_first_error_is_told_and_not_what_followed_from_it() -> None:
    said = "a.c:3:1: error: expected ';'\na.c:4:1: error: what now\nmake: *** [Makefile:1: a] Error 1\n"
    assert why.diagnose(said).line == "a.c:3:1: error: expected ';'"
    assert why.diagnose("make: *** [debian/rules:4: build] Error 7\n").line.startswith("make: ***")
    assert why.diagnose("nothing of that kind\n") == why.Diagnosis()
    assert why.diagnose("x" * 10**7).line == ""


@for_both
def test_a_failed_build_ends_with_what_is_missing_and_the_package_that_has_it(work: Workplace) -> None:
    code, printed = work.build(make_source(work.place, "echo '#include <zlib.h>' >x.c && gcc -c x.c"))
    assert code == 2
    told = printed.partition("\nWhy: tiny 1 failed in stage build: ")[2].partition("| Summary ")[0].splitlines()
    assert "failed with exit code 2" in told[0]
    assert told[1] == "The line that matters: x.c:1:10: fatal error: zlib.h: No such file or directory"
    [missing] = [line for line in told if line.startswith("Missing is zlib.h")]
    has_it = subprocess.run(
        ["dpkg-query", "--search", "/usr/include/zlib.h"], capture_output=True, text=True, check=False
    )
    owner = has_it.stdout.partition(":")[0]
    assert missing.startswith(f"Missing is zlib.h, which is in {owner}" if owner else "Missing is zlib.h; ")
    # It is among the tests' packages.
    assert "buildlog-consultant says: " in log_of(work.output)


def test_apt_in_the_session_knows_the_package_of_a_command(work: Workplace) -> None:
    code, printed = work.build(make_source(work.place, "quilt"), "--nolog")
    assert code == 2
    assert "\nMissing is quilt, which is in quilt: a build dependency that is not declared?\n" in printed


def test_other_failures_have_their_stage_and_reason_and_limits_no_line(work: Workplace) -> None:
    code, printed = work.build(make_source(work.place, depends="no-such-thing"), "--nolog")
    assert code == 3
    assert "\nWhy: tiny 1 failed in stage install-deps: The build dependencies cannot be installed: " in printed
    place = work.place / "slow"
    place.mkdir()
    code, printed = work.build(make_source(place, "echo error: no; sleep 100"), "--nolog", "--time-limit", "1")
    assert code == 2
    assert "failed in stage build: not finished after 1 seconds\n" in printed
    assert "The line that matters" not in printed


def test_what_the_command_of_debian_13_says_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its version 0.1.1 printed it."""
    program = tmp_path / why.CONSULTANT_COMMAND
    line = "x.c:1:10: fatal error: zlib.h: No such file or directory"
    said = {"details": {"header": "zlib.h"}, "line": f"{line}\n", "lineno": 2, "problem": "missing-c-header"}
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(said)}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    consulted = why._consult(tmp_path / "log")
    assert consulted == (f"{line}\n", "missing-c-header")
    found = why.diagnose("a.c:1:1: error: something else\n", consulted)
    assert (found.line, found.missing and found.missing.what) == (line, "zlib.h")
