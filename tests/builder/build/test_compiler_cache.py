"""What compilers made in one build, found by the next one; as root and as a plain user."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from builder.build.compiler_cache import PLACE, PROGRAMS
from builder.store import compiler_caches
from tests.builder.packages import COWBUILD, Workplace, for_both, log_of, make_source

BUILDER = 60998
OWNER = {"root": BUILDER, "user": 300000 + BUILDER - 1}
"""The builder's number outside: the plain user's subordinate ids begin with the second one inside."""

SCRIPT = f"""
gcc -O2 -c debian/one.c -o one.o && nm one.o
test "$RUSTC_WRAPPER" = /usr/bin/sccache && $RUSTC_WRAPPER /usr/bin/gcc -O2 -c debian/two.c -o two.o && nm two.o
test "$(stat -c %U {PLACE}/ccache {PLACE}/sccache | uniq)" = cowbuild
printf '#!/bin/sh\\n' >{PLACE}/ccache/program && chmod 4755 {PLACE}/ccache/program && ! {PLACE}/ccache/program
"""
"""sccache, by the way in which cargo runs it for rustc, with a compiler that every base has."""

SOURCES = {"one.c": "int one(void) { return 1; }\n", "two.c": "int two(void) { return 2; }\n"}


def cache_list(work: Workplace, what: str = "list") -> list[str]:
    command = [*work.base.owner.before, *COWBUILD, "cache", what]
    return subprocess.check_output(command, env=work.environment, text=True).splitlines()


@for_both
def test_the_second_build_finds_what_the_first_compiled_and_nobody_else_can_reach_it(work: Workplace) -> None:
    dsc = make_source(work.place, SCRIPT, more=SOURCES)
    printed = ""
    for found in (0, 1):
        code, printed = work.build(dsc, "--ccache", "--sccache", "--compiler-cache-size", "64", "--nolog")
        assert code == 0, printed[-3000:]
        for field in ("Ccache", "Sccache"):
            said = rf"{field}: {found} of 1 compilations were in the cache; it has \d MiB of 64"
            assert re.search(f"^{said}$", printed, re.MULTILINE)
    assert "/usr/lib/ccache:" in printed
    for program in PROGRAMS:
        place = work.cache / "cowfs/compilers" / program
        assert place.stat().st_mode & 0o777 == 0o700
        files = place / "files"
        owners = {path.lstat().st_uid for path in [files, *files.rglob("*")]}
        assert owners == {OWNER[work.base.owner.name]}
    assert any(path.is_file() for path in (work.cache / "cowfs/compilers/ccache/files").rglob("*R"))
    assert [line.partition(":")[0] for line in cache_list(work)[-2:]] == ["ccache", "sccache"]
    assert [line.partition(":")[0] for line in cache_list(work, "prune")[-2:]] == ["removed ccache", "removed sccache"]
    assert os.listdir(work.cache / "cowfs/compilers") == []


@pytest.mark.parametrize("option", ["--twice", "--vary=umask", "--bisect", "--trace"])
def test_no_build_that_is_compared_or_traced_has_one(work: Workplace, option: str) -> None:
    code, printed = work.build(make_source(work.place), "--ccache", option)
    assert code == 2
    assert "--ccache does not go with " in printed
    assert not (work.cache / "cowfs/compilers").exists()


def test_where_the_suite_lacks_the_program_that_is_said(work: Workplace) -> None:
    hide = r"printf 'Package: sccache\nPin: release *\nPin-Priority: -1\n' >/etc/apt/preferences.d/hidden"
    code, printed = work.build(make_source(work.place), "--sccache", "--chroot-setup-commands", hide)
    assert code == 3
    assert re.search(r"\nE: \w+ has no package sccache for \w+, which --sccache needs\nI: Without --sccache\n", printed)
    assert "\nFail-Stage: install-deps\n" in log_of(work.output)


def test_what_a_build_links_to_from_its_cache_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    large = tmp_path / "large"
    large.mkdir()
    (large / "file").write_bytes(b"x" * 2**20)
    with compiler_caches.in_use("ccache", (os.getuid(), os.getgid())) as files:
        (files / "deep/er").mkdir(parents=True)
        (files / "deep/er/file").write_bytes(b"x" * 8192)
        (files / "link").symlink_to(large)
        assert 8192 <= compiler_caches.size_of("ccache") < 2**20
        assert compiler_caches.prune(0) == []  # in use
    assert [each.program for each in compiler_caches.prune(0)] == ["ccache"]
    files.parent.symlink_to(large)
    assert compiler_caches.size_of("ccache") == 0
