"""cowbuild-sbuild beside the real sbuild: who calls sbuild finds the same files, exit codes and logs."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from buildlog_consultant.sbuild import SbuildFailure, SbuildLog, worker_failure_from_sbuild_log

from tests.interop.conftest import Both, assert_same

pytestmark = pytest.mark.root


def test_a_dsc_with_what_it_needs_installed(both: Both, source: Path) -> None:
    real, ours = both.run(source, ["sbuild", "-d", "unstable", "--build-dep-resolver=apt", "tiny_1.dsc"])
    assert real.code == 0, real.printed
    assert "tiny_1_amd64-TIME.build" in ours.files
    assert ours.printed == ""  # there is no terminal
    assert_same(real, ours)


def test_a_tree_with_its_source_and_hooks(both: Both, source: Path) -> None:
    """In the words of git-buildpackage's users and of ubuntu-dev-tools; hooks as debusine has them."""
    words = [
        *("sbuild", "-v", "-d", "sid", "--source", "--source-only-changes", "--no-clean-source", "--force-orig-source"),
        *("--batch", "--nolog", "--arch-all", "--uploader=Somebody <s@localhost>"),
        "--pre-build-commands=echo in-it | %SBUILD_CHROOT_EXEC sh -c 'cat > /etc/put'",
        "--chroot-setup-commands=cat /etc/put",
        "--starting-build-commands=echo %a %SBUILD_BUILD_ARCH 100%%; pwd | sed s/^/at:/",
        "--finished-build-commands=ls %p/debian/control >/dev/null",
        "--post-build-commands=%e cat /etc/put; basename %c",
    ]
    real, ours = both.run(source, words, "tiny-1")
    assert real.code == 0, real.printed
    assert_same(real, ours)
    for said in ("in-it\n", "amd64 amd64 100%\n", "\ntiny_1_amd64.changes\n"):
        assert said in real.printed
        assert said in ours.printed


def _unpackable(place: Path) -> None:
    """The tarball is not one; all checksums are right."""
    text = (place / "tiny_1.dsc").read_text()
    old = (place / "tiny_1.tar.xz").read_bytes()
    new = b"no archive" * 9
    for name in ("md5", "sha1", "sha256"):
        text = text.replace(hashlib.new(name, old).hexdigest(), hashlib.new(name, new).hexdigest())
    (place / "tiny_1.dsc").write_text(text.replace(f" {len(old)} ", f" {len(new)} "))
    (place / "tiny_1.tar.xz").write_bytes(new)


def _for_another_architecture(place: Path) -> None:
    dsc = place / "tiny_1.dsc"
    dsc.write_text(dsc.read_text().replace("Architecture: any", "Architecture: m68k"))


def _needs_what_is_not(place: Path) -> None:
    dsc = place / "tiny_1.dsc"
    dsc.write_text(dsc.read_text().replace("Build-Depends: dpkg-dev", "Build-Depends: dpkg-dev, no-such-thing (>= 2)"))


# How it is made to fail -> words, what is done to the source, status, stage.
FAILURES: dict[str, tuple[tuple[str, ...], Callable[[Path], None], str, str]] = {
    "no source": (("no-such_1.dsc",), lambda _place: None, "given-back", "fetch-src"),
    "no chroot": (("--chroot=no-such", "tiny_1.dsc"), lambda _place: None, "failed", "create-session"),
    "unpackable": (("tiny_1.dsc",), _unpackable, "given-back", "unpack"),
    "other architecture": (("tiny_1.dsc",), _for_another_architecture, "skipped", "arch-check"),
    "build": (("tiny_1.dsc",), lambda _place: None, "attempted", "build"),
    "dependencies": (
        ("--build-dep-resolver=apt", "--bd-uninstallable-explainer=apt", "tiny_1.dsc"),
        _needs_what_is_not,
        "given-back",
        "install-deps",
    ),
    "lists of packages": (
        ("--apt-update", "--chroot-setup-commands=echo nonsense > /etc/apt/sources.list", "tiny_1.dsc"),
        lambda _place: None,
        "given-back",
        "apt-get-update",
    ),
    "a command of the user's": (
        ("--post-build-commands=echo oh; false", "tiny_1.dsc"),
        lambda _place: None,
        "failed",
        "run-post-build-commands",
    ),
}


@pytest.mark.parametrize("why", FAILURES)
def test_a_failure_is_understood_from_the_log_as_from_sbuild_s(both: Both, source: Path, place: Path, why: str) -> None:
    """By buildlog-consultant, of which the later ones have a reader and finders that disagree about titles."""
    words, spoil, status, stage = FAILURES[why]
    given = place / "given"
    shutil.copytree(source, given)
    spoil(given)
    real, ours = both.run(given, ["sbuild", "-d", "unstable", *words], FAILS="1" if why == "build" else "")
    if why == "lists of packages":
        # Its exit code is that of given-back; it looks at the stage when it has written the log.
        assert real.summary["Status"] == "failed"
        real = replace(real, log=real.log.replace("\nStatus: failed\n", "\nStatus: given-back\n"))
    for each in (real, ours):
        assert (each.summary["Status"], each.summary["Fail-Stage"]) == (status, stage), each.log
    assert (ours.code, ours.files, ours.changes) == (real.code, real.files, real.changes), ours.printed
    assert ours.sections == real.sections
    understood, as_real = (worker_failure_from_sbuild_log(io.BytesIO(each.log.encode())) for each in (ours, real))
    # schroot's sentence about a chroot that it does not know is unknown to it; ours is that of sbuild itself.
    if why != "no chroot":
        assert told(understood) == told(as_real)
    # Behind the kind of a phase it has the name of a test, for which it takes any last line of a user's command.
    assert (understood.stage, (understood.phase or ("",))[0]) == (as_real.stage, (as_real.phase or ("",))[0])


def told(failure: SbuildFailure) -> tuple[str, str, str]:
    return type(failure.error).__name__, str(failure.error), str(failure.description)


def test_a_log_that_tells_of_success_is_understood(both: Both, source: Path) -> None:
    """And cowbuild build's own has the same shape."""
    base = str(both.machine.base.path)
    place = both.place / "own"
    shutil.copytree(source, place)
    words = ("--base", base, "--no-apt-update", "--no-deps-cache", "--output", place)
    both.machine.output("cowbuild", "build", place / "tiny_1.dsc", *words, place=place)
    [log] = [path for path in place.glob("*.build") if not path.is_symlink()]
    with log.open("rb") as file:
        parsed = SbuildLog.parse(file)
    assert parsed.get_failed_stage() is None
    assert {"Build", "Cleanup", "Summary"} <= set(parsed.section_titles())
