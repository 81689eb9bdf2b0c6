"""lintian, piuparts and autopkgtest on what was built, each in a session of its own."""

from __future__ import annotations

import re
import subprocess

import pytest

from builder.build import job
from builder.command import options
from tests.builder.packages import COWBUILD, Workplace, log_of, make_source

# Without the test of upgrades, for which piuparts installs and removes everything once more.
QUICK = "--piuparts-opt=--no-upgrade-test"
ALL = ("--run-lintian", "--run-piuparts", "--run-autopkgtest", QUICK)

GOOD_TESTS = """\
Test-Command: test "$(id -un)" = cowbuild && test -e /usr/share/tiny/control
Depends: @

Test-Command: test "$(id -u)" = 0
Restrictions: needs-root
Depends: @
"""

# lintian knows a maintainer script without "set -e"; piuparts a file that stays when the package has gone.
BAD = {"tests/control": "Test-Command: false\nDepends: @\n", "postinst": "#!/bin/sh\ntouch /usr/left-behind\n"}


def build(work: Workplace, name: str, more: dict[str, str], *words: str) -> tuple[int, str]:
    place = work.place / name
    place.mkdir()
    return work.build(make_source(place, name=name, more=more), *words)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_verdicts_are_in_the_summary_and_fail_the_build_only_where_asked(work: Workplace) -> None:
    good = {"tests/control": GOOD_TESTS}
    code, printed = build(
        work, "tiny", good, *ALL, "--deps-cache", "--lintian-opts", "-v --suppress-tags no-copyright-file"
    )
    assert code == 0, printed[-3000:]
    log = log_of(work.output)
    assert "PASS: Installation and purging test." in log
    # It ran, and found what it found: "error" is for a lintian that could not.
    assert re.search(r"^Lintian: (pass|info|warn|fail)$", log, re.MULTILINE)
    assert "\nPiuparts: pass\n" in log
    assert "\nAutopkgtest: pass\n" in log
    assert "\nCommand: lintian -v --suppress-tags no-copyright-file tiny_1.dsc tiny_1_" in log
    # Programs once installed are kept as build dependencies are; they are not in each other's session.
    assert (
        subprocess.check_output(
            [*work.base.owner.before, *COWBUILD, "cache", "list"], env=work.environment, text=True
        ).count(" for ")
        == 4
    )

    required = [f"--{program}-require-success" for program in job.TESTERS]
    code, printed = build(work, "worse", BAD, *ALL, "--deps-cache", *required, "--nolog")
    assert code == 1
    assert "Setting up lintian" not in printed
    assert "left-behind" in printed
    verdicts = ("Lintian: fail", "Piuparts: fail", "Autopkgtest: fail")
    for field in (*verdicts, "Fail-Stage: post-build", "Status: failed"):
        assert f"\n{field}\n" in printed
    assert "lintian and piuparts and autopkgtest did not pass" in printed
    # What was built is there all the same.
    assert list(work.output.glob("worse_1_*.deb"))


@pytest.mark.slow
def test_piuparts_installs_and_removes_in_roots_session_too(work: Workplace) -> None:
    code, printed = build(work, "tiny", {}, "--run-piuparts", QUICK)
    assert code == 0, printed[-3000:]
    assert "PASS: Installation and purging test." in printed
    assert "\nPiuparts: pass\n" in printed


def test_packages_for_another_architecture_are_not_run(work: Workplace) -> None:
    code, printed = build(work, "tiny", {}, "--host", "arm64", "--run-piuparts")
    assert code == 2
    assert printed.startswith("cowbuild: Packages for arm64 cannot be run over this base")


def test_sbuilds_names_of_the_options_are_understood() -> None:
    words = ["--no-run-lintian", "--run-autopkgtest", "--autopkgtest-opts", "-U -B", "--piuparts-opt", "-x"]
    arguments = options.parse(["build", "a.dsc", *words])
    assert (arguments.run_lintian, arguments.run_autopkgtest) == (False, True)
    assert (arguments.autopkgtest_opts, arguments.piuparts_opt) == (["-U", "-B"], ["-x"])
