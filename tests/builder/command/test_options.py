"""sbuild's options, in real sessions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.build import binnmu, hooks
from builder.command import options
from builder.problems import Problem
from tests.builder.packages import Workplace, log_of, make_source


def fields_of(package: Path) -> dict[str, str]:
    text = subprocess.check_output(["dpkg-deb", "--field", package], text=True)
    return dict(line.split(": ", 1) for line in text.splitlines() if not line.startswith(" "))


def test_commands_run_at_their_points_in_order_and_place(work: Workplace) -> None:
    note = "echo at-{}: $(id -un) $(test -d {} && echo inside)"
    options = [
        word for point in hooks.POINTS for word in (f"--{point}-commands", note.format(point, "/build") + " %a %c")
    ]
    code, _printed = work.build(make_source(work.place), *options)
    assert code == 0
    log = log_of(work.output)
    said = [line.split() for line in log.splitlines() if line.startswith("at-")]
    points = ["pre-build", "chroot-setup", "starting-build", "finished-build", "chroot-cleanup", "post-build"]
    assert [words[0] for words in said] == [f"at-{point}:" for point in points]
    assert [words[2] == "inside" for words in said] == [False, False, True, True, True, False]
    assert all(words[1] == "root" for words in said)
    assert said[-1][-1].endswith(".changes")
    assert said[0][-1] == "%c"


def test_commands_for_failures_run_and_do_not_hide_the_failure(work: Workplace) -> None:
    code, _printed = work.build(
        make_source(work.place, "touch evidence; exit 1"),
        *("--anything-failed-commands", "echo looked: $(ls %p/evidence)"),
        *("--build-failed-commands", "exit 1"),
        *("--post-build-failed-commands", "echo after"),
        *("--chroot-cleanup-commands", "echo cleaning"),
    )
    assert code == 2
    log = log_of(work.output)
    assert "\nFail-Stage: build\n" in log
    # The one that failed keeps those after it at the same point from running.
    assert log.count("looked: /build/reproducible-path/tiny-1/evidence") == 0
    assert "\ncleaning\n" in log
    assert "\nafter\n" in log


def test_packages_may_stand_between_options() -> None:
    arguments = options.parse(["build", "a.dsc", "--no-arch-all", "b.dsc", "--parallel", "2", "c.dsc"])
    assert (arguments.packages, arguments.build_all, arguments.parallel) == (["a.dsc", "b.dsc", "c.dsc"], False, 2)
    assert options.parse(["build", "--no-arch-all", "b.dsc"]).packages == ["b.dsc"]
    assert options.parse(["build", "--no-arch-all"]).packages == ["."]


def test_what_is_for_another_program_reaches_it_as_it_was_given() -> None:
    joined = options.parse(["build", "--debbuildopts", "-v1 -sa", "a.dsc"])
    assert (joined.debbuildopts, joined.packages) == (["-v1", "-sa"], ["a.dsc"])
    command = ["some", "--x-opts", "-a", "b"]
    assert options.parse(["run", "sid", "--", *command]).words == command
    given = ["build", "--debbuildopts", "-b", "a.dsc"]
    assert options.parse(["pbuilder", "sid", *given]).words == given
    assert options.parse(["pbuilder", "sid", "execute", "--", "script", "--save"]).words[1:] == [
        "--",
        "script",
        "--save",
    ]


@pytest.mark.parametrize("words", [["build", "a.dsc", "--no-such"], ["list", "a"], ["build", "a", "--no-such", "b"]])
def test_what_nobody_knows_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        options.parse(words)
    assert ended.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


def test_a_failing_command_before_the_build_is_the_reason(work: Workplace) -> None:
    code, _printed = work.build(make_source(work.place), "--starting-build-commands", "false")
    assert code == 1
    assert "\nFail-Stage: run-starting-build-commands\n" in log_of(work.output)


def test_a_binnmu_has_its_version_and_changelog(work: Workplace) -> None:
    code, _printed = work.build(
        make_source(work.place),
        *("--make-binNMU", "Rebuild for a test.", "--binNMU", "3"),
        *("--append-to-version", "~x", "--maintainer", "Some One <one@localhost>"),
    )
    assert code == 0
    [package] = work.output.glob("*.deb")
    assert fields_of(package)["Version"] == "1+b3~x"
    [changes] = work.output.glob("*.changes")
    assert "Rebuild for a test." in changes.read_text()
    assert "\nVersion: 1+b3~x\n" in log_of(work.output)
    assert "\nSource-Version: 1\n" in log_of(work.output)


def test_packages_of_ones_own_satisfy_dependencies(work: Workplace) -> None:
    needed, needing = work.place / "needed", work.place / "needing"
    needed.mkdir()
    needing.mkdir()
    code, _printed = work.build(make_source(needed, name="special"))
    assert code == 0
    dsc = make_source(needing, "test -e /usr/share/special/control", depends="special (= 1)")
    code, _printed = work.build(dsc, "--nolog", "--extra-package", str(work.output))
    assert code == 0
    assert list(work.output.glob("tiny_*.deb"))


def test_a_source_tree_is_built_where_one_is_in_it(work: Workplace) -> None:
    make_source(work.place)
    (work.place / "tiny_1.dsc").unlink()
    code, _printed = work.build(work.place / "tiny-1", "--source", "--build-path", "/somewhere/else")
    assert code == 0
    assert list(work.output.glob("*.dsc"))
    assert "\nBuild Type: full\n" in log_of(work.output)
    assert not (work.place / "tiny_1.dsc").exists()


def test_nothing_is_printed_when_quiet_and_nothing_kept_without_a_log(work: Workplace) -> None:
    code, printed = work.build(make_source(work.place), "--quiet")
    assert (code, printed) == (0, "")
    assert "Status: successful" in log_of(work.output)
    for log in work.output.glob("*.build"):
        log.unlink()
    code, printed = work.build(work.place / "tiny_1.dsc", "--nolog")
    assert code == 0
    assert "Status: successful" in printed
    assert not list(work.output.glob("*.build"))


@pytest.mark.parametrize(("what", "told"), [("missing.dsc", 3), ("./missing", 3), ("Not A Name", 2), ("/", 2)])
def test_what_cannot_be_built_is_said_at_once(work: Workplace, what: str, told: int) -> None:
    code, printed = work.build(Path(what) if what != "./missing" else work.place / "missing")
    assert code == told
    assert printed.startswith("cowbuild: ")


def test_escapes_stand_for_what_is_known() -> None:
    escapes = hooks.Escapes("arm64", "amd64", "/build", "/build/x-1", "x.dsc")
    assert escapes.put_into("%a %b %p %d %SBUILD_BUILD_ARCH %% %c %z") == "arm64 /build /build/x-1 x.dsc amd64 % %c %z"
    assert escapes.put_into("%%a %SBUILD_DSC") == "%a x.dsc"
    assert "/dev/tty" in escapes.put_into("%s")


def test_a_rebuild_needs_somebody_to_answer_for_it() -> None:
    with pytest.raises(Problem, match="maintainer"):
        binnmu.Rebuild(text="x").entry("x", "1", "sid", "amd64")
    assert binnmu.Rebuild(text="x").version("1-1") == "1-1+b1"
    assert binnmu.Rebuild(suffix="~y").version("1-1") == "1-1~y"
    entry = binnmu.Rebuild(number=2, text="One\ntwo.", maintainer="M <m@x>", timestamp="0").entry("x", "1", "sid", "a")
    assert entry == (
        "x (1+b2) sid; urgency=low, binary-only=yes\n\n"
        "  * Binary-only non-maintainer upload for a; no source changes.\n  * One\n    two.\n\n"
        " -- M <m@x>  Thu, 01 Jan 1970 00:00:00 +0000\n"
    )
