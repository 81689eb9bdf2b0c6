"""cowbuild-sbuild beside the real sbuild: who calls sbuild finds the same files, exit codes and logs."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from buildlog_consultant.sbuild import FAILED_STAGE_FAIL_FINDERS, SbuildLog, SbuildLogSection
from debian.deb822 import Changes

from tests.builder.packages import make_source
from tests.interop.conftest import COMMANDS, Machine

pytestmark = pytest.mark.root

# Of both; what is the same in all tests, and takes time. The dependencies are in the base.
CONFIGURATION = """
$chroot = 'tests';
$run_lintian = 0;
$apt_update = 0;
$apt_distupgrade = 0;
$build_dep_resolver = 'null';
$environment_filter = ['^DEB_', '^FAILS$'];
$bd_uninstallable_explainer = 'none';
$maintainer_name = 'Tester <tester@localhost>' if $ENV{'TEST_REBUILD'};
1;
"""

WHO = ("real", "ours")

# Times, and what depends on them; the .buildinfo has them in it, and the checksums of the .changes are about it.
FIELDS_OF_TIME = ("Date", "Checksums-Sha1", "Checksums-Sha256", "Files")


@dataclass(frozen=True)
class Outcome:
    """What a caller sees of one of the two."""

    code: int
    printed: str
    files: frozenset[str]
    changes: dict[str, dict[str, str]]
    log: str

    @property
    def sections(self) -> list[str]:
        """The titles in boxes, but for the first, which has the time in it."""
        return re.findall(r"^\+[-=]+\+\n\| (.*?) +\|\n\+[-=]+\+$", self.log, re.MULTILINE)[1:]

    @property
    def summary(self) -> dict[str, str]:
        _, _, text = self.log.rpartition("| Summary ")
        return dict(re.findall(r"^([A-Z][A-Za-z -]+): (.*)$", text, re.MULTILINE))


@dataclass(frozen=True)
class Both:
    """The real sbuild and ours on the same machine."""

    machine: Machine
    place: Path

    def run(self, given: Path, command: Sequence[str], where: str = ".", **environment: str) -> tuple[Outcome, Outcome]:
        """Run the command in a copy of `given` for each, in the directory `where` of it."""
        real, ours = (self._run(who, given, command, where, environment) for who in WHO)
        return real, ours

    def _run(self, who: str, given: Path, command: Sequence[str], where: str, environment: dict[str, str]) -> Outcome:
        # The same path for both: it is in what they write.
        work = self.place / "work"
        shutil.copytree(given, work, symlinks=True)
        before = _names(work)
        own = {
            # Not the commands of our own Python: brz takes the first that it finds for its own.
            "PATH": f"{self.place / who}:/usr/sbin:/usr/bin:/sbin:/bin",
            "SBUILD_CONFIG": str(self.place / "config.pl"),
            "XDG_DATA_HOME": str(self.place / "data"),
            "XDG_CACHE_HOME": str(self.place / "cache"),
            "TMPDIR": str(self.place / "tmp"),
            "HOME": str(self.place / "home"),
        }
        done = self.machine.run(*command, place=work / where, environment={**own, **environment})
        changes = {
            path.name: {name: value for name, value in Changes(path.read_text()).items() if name not in FIELDS_OF_TIME}
            for path in work.rglob("*.changes")
        }
        logs = [path.read_text(errors="replace") for path in work.rglob("*.build") if not path.is_symlink()]
        names = frozenset(re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME", name) for name in _names(work) - before)
        work.rename(self.place / f"after-{who}-{len(list(self.place.iterdir()))}")
        return Outcome(done.returncode, done.stdout, names, changes, logs[0] if logs else done.stdout)


def _names(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if ".git" not in path.parts}


@pytest.fixture(scope="module")
def both(machine: Machine, scratch: Path) -> Both:
    place = scratch / "both"
    for name in (*WHO, "home", "cache", "tmp", "data/cowfs/bases/tests"):
        (place / name).mkdir(parents=True)
    for closed in ("data/cowfs/bases", "data/cowfs/bases/tests"):
        (place / closed).chmod(0o700)
    (place / "ours/sbuild").symlink_to(COMMANDS / "cowbuild-sbuild")
    (place / "config.pl").write_text(CONFIGURATION)
    (place / "data/cowfs/bases/tests/current").symlink_to(machine.base.path)
    machine.output("cowbuild", "schroot-config", machine.base.path, "--install", "--name", "tests")
    return Both(machine, place)


def assert_same(real: Outcome, ours: Outcome) -> None:
    assert (ours.code, sorted(ours.files), ours.changes) == (real.code, sorted(real.files), real.changes), (
        f"{real.printed}\n======\n{ours.printed}"
    )
    assert ours.sections == real.sections
    assert set(real.summary) <= set(ours.summary)


@pytest.fixture(scope="module")
def source(scratch: Path) -> Path:
    """A directory with a source tree of one package, and its .dsc."""
    place = scratch / "source"
    place.mkdir()
    make_source(place, 'test -z "$FAILS"')
    return place


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


# Who calls, in a git repository of the package -> the command, as in Debian's documentation of each.
CALLERS = {
    "git-buildpackage": ("gbp", "buildpackage", "--git-builder=sbuild -v -d unstable", "--git-ignore-branch"),
    "brz builddeb": ("brz", "builddeb", "--native", "--builder=sbuild -d unstable -s --source-only-changes"),
    "dgit": ("dgit", "-wn", "--new", "-v_", "sbuild", "-d", "unstable", "-A"),
    "wanna-build's buildd": (
        *("sbuild", "--no-apt-update", "--no-apt-upgrade", "--no-apt-distupgrade", "--no-run-lintian", "--batch"),
        *("--stats-dir=stats", "--dist=unstable", "--sbuild-mode=buildd", "--mailfrom=a@localhost", "--arch-any"),
        *("--maintainer=Builder <b@localhost>", "--dpkg-file-suffix=-buildd", "--no-arch-all", "--arch=amd64"),
        *("--make-binNMU=Rebuild", "--binNMU=3", "--binNMU-timestamp=1700000000", "../tiny_1.dsc"),
    ),
}

GIT = """
git init -q -b master
git add -A
git commit -qm imported
"""


@pytest.fixture(scope="module")
def repository(scratch: Path, both: Both, source: Path) -> Path:
    place = scratch / "repository"
    shutil.copytree(source, place)
    identity = "[user]\nname = Tester\nemail = tester@localhost\n[safe]\ndirectory = *\n"
    (both.place / "home/.gitconfig").write_text(identity)
    both.machine.output("env", f"HOME={both.place / 'home'}", "sh", "-ec", GIT, place=place / "tiny-1")
    return place


@pytest.mark.parametrize("who", CALLERS)
def test_a_caller_finds_the_same(both: Both, repository: Path, who: str) -> None:
    real, ours = both.run(repository, CALLERS[who], "tiny-1", EMAIL="tester@localhost", DEBFULLNAME="Tester")
    assert real.code == 0, real.printed
    assert real.changes
    # What statistics and progress tell is in the log.
    left_out = {name for name in real.files if re.search("(^|/)(stats|build-progress)", name)}
    assert_same(replace(real, files=real.files - left_out), ours)


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
}


@pytest.mark.parametrize("why", FAILURES)
def test_a_failure_is_understood_from_the_log_as_from_sbuild_s(both: Both, source: Path, place: Path, why: str) -> None:
    """By buildlog-consultant, which names stage and reason."""
    words, spoil, status, stage = FAILURES[why]
    given = place / "given"
    shutil.copytree(source, given)
    spoil(given)
    real, ours = both.run(given, ["sbuild", "-d", "unstable", *words], FAILS="1")
    for each in (real, ours):
        assert (each.summary["Status"], each.summary["Fail-Stage"]) == (status, stage), each.log
    assert (ours.code, ours.files, ours.changes) == (real.code, real.files, real.changes), ours.printed
    assert ours.sections == real.sections
    finder: Any = FAILED_STAGE_FAIL_FINDERS[stage]
    understood, as_real = (finder(Parsed(each.log), stage) for each in (ours, real))
    assert Parsed(ours.log).failed_stage == stage
    assert (understood.stage, understood.phase) == (as_real.stage, as_real.phase)
    # schroot's sentence about a chroot that it does not know is unknown to it; ours is that of sbuild itself.
    assert as_real.error is None or _told(understood.error) == _told(as_real.error)


def _told(error: object) -> tuple[str, str]:
    return type(error).__name__, str(error)


class Parsed:
    """A log as buildlog-consultant reads it; and what of it its own functions ask for.

    As of 0.0.39 they ask for titles in small letters, which its reader no longer knows, and cannot bear the "n/a" of
    the real sbuild: so the titles are looked up here.
    """

    def __init__(self, log: str) -> None:
        self._log = SbuildLog.parse(io.BytesIO(re.sub(r"(?m)^((Build-)?Space): n/a$", r"\1: 0", log).encode()))
        self.sections = self._log.sections
        self.failed_stage = self._log.get_failed_stage()

    def get_section(self, title: str | None) -> SbuildLogSection | None:
        found = [each for each in self.sections if (each.title and each.title.lower()) == title]
        return found[0] if found else None

    def get_section_lines(self, title: str | None) -> list[str] | None:
        section = self.get_section(title)
        return None if section is None else section.lines


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
