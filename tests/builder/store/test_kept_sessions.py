"""Sessions that are kept after their build."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.store import kept_sessions
from tests.builder.packages import COWBUILD, Workplace, for_both, log_of, make_source

FORGE = """for forged in forged /tmp/forged; do
    mkdir $forged
    perl -MPOSIX -e '
        my ($path, $name, $value, %setxattr) = ($ARGV[0], "user.overlay.redirect", "/etc", x86_64 => 188);
        syscall($setxattr{(POSIX::uname)[4]} // 5, $path, $name, $value, 4, 0) == 0 or die $!;
    ' $forged
done"""
"""Directories that, if a union believed it, had /etc below them."""


def cowbuild(work: Workplace, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*work.base.owner.before, *COWBUILD, *words]
    return subprocess.run(command, env=work.environment, capture_output=True, text=True, check=False)


@for_both
def test_a_failed_session_is_kept_entered_forked_and_discarded(work: Workplace) -> None:
    script = f"echo evidence > evidence; echo more > /tmp/more; ln -s /etc /tmp/etc\n{FORGE}\nexit 1"
    dsc = make_source(work.place, script)
    code, printed = work.build(dsc, "--purge-session", "successful")
    assert code == 2
    listed = cowbuild(work, "sessions").stdout.split()
    name = listed[0]
    assert listed[2] == "build"
    assert f"cowbuild enter {name}" in printed

    # Where the build was, with what it wrote; what is done in a fork does not stay, what is done in the session does.
    assert cowbuild(work, "fork", "--as-builder", name, "cat", "evidence").stdout == "evidence\n"
    assert cowbuild(work, "fork", name, "--", "sh", "-c", "echo changed > evidence").returncode == 0
    assert cowbuild(work, "enter", name, "--", "sh", "-c", "cat evidence; echo more >> evidence").stdout == "evidence\n"
    assert cowbuild(work, "fork", name, "cat", "evidence").stdout == "evidence\nmore\n"

    # So with /tmp: what a link in it says is the session's.
    assert cowbuild(work, "fork", name, "--", "sh", "-c", "cat /tmp/more; rm /tmp/more; ls /tmp/etc/hosts").stdout == (
        "more\n/tmp/etc/hosts\n"
    )
    assert (
        cowbuild(work, "enter", name, "--", "sh", "-c", "echo again >> /tmp/more; stat -c %a /tmp").stdout == "1777\n"
    )
    assert cowbuild(work, "fork", name, "--", "cat", "/tmp/more").stdout == "more\nagain\n"

    # What a build wrote is no layer, whatever it says of itself.
    assert cowbuild(work, "fork", name, "--", "ls", "forged", "/tmp/forged").stdout == "/tmp/forged:\n\nforged:\n"

    exported = work.output / "session.zip"
    assert cowbuild(work, "session", "export", name, "--output", str(exported)).returncode == 0
    assert cowbuild(work, "discard", name).returncode == 0
    assert cowbuild(work, "sessions").stdout == ""

    done = cowbuild(work, "session", "import", str(exported), "--base", str(work.base.path))
    assert done.returncode == 0, done.stderr
    name = cowbuild(work, "sessions").stdout.split()[0]
    assert f"cowbuild enter {name}" in done.stdout
    there = "cat evidence /tmp/more; readlink /tmp/etc; stat -c %U%a /tmp evidence; ls ../*.dsc; getent passwd cowbuild"
    assert cowbuild(work, "enter", name, "--", "sh", "-c", there).stdout == (
        "evidence\nmore\nmore\nagain\n/etc\nroot1777\ncowbuild644\n../tiny_1.dsc\n"
        "cowbuild:x:60998:60998::/nonexistent:/bin/sh\n"
    )
    assert cowbuild(work, "discard", name).returncode == 0
    assert cowbuild(work, "enter", name, "true").returncode == 2
    assert list((work.state / "cowfs/sessions").iterdir()) == []


def test_a_successful_session_is_not_kept_unless_wanted(work: Workplace) -> None:
    dsc = make_source(work.place)
    assert work.build(dsc, "--purge-session", "successful")[0] == 0
    assert cowbuild(work, "sessions").stdout == ""
    assert work.build(dsc, "--purge-session", "never", "--nolog")[0] == 0
    name = cowbuild(work, "sessions").stdout.split()[0]
    assert cowbuild(work, "fork", name, "--", "sh", "-c", "ls ../*.deb").stdout.startswith("../tiny_1_")
    assert "The session is kept" not in log_of(work.output)


def test_the_frozen_layers_below_a_kept_session_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    kept_sessions.make_sessions_directory()
    frozen = [tmp_path / "cache" / name / "layer" for name in ("upper", "lower")]
    for layer in (tmp_path / "session/layer", *frozen):
        (layer / "upper").mkdir(parents=True)
        (layer / "upper/file").write_text(str(layer))
    name = kept_sessions.keep(
        tmp_path / "session/layer",
        tmp_path / "session/own",
        frozen,
        stem="s",
        package="p",
        base=tmp_path,
        stage="build",
        made=0.0,
        build_directory="/",
    )
    kept = kept_sessions.find(name)
    assert [(layer / "upper/file").read_text() for layer in kept.below] == [str(layer) for layer in frozen]
    # On one file system they take no room.
    assert [(layer / "upper/file").stat().st_nlink for layer in kept.below] == [2, 2]
    kept_sessions.discard(name)
    assert all((layer / "upper/file").exists() for layer in frozen)
