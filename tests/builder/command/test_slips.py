"""What is asked for and makes no sense: told in one sentence, with exit code 2, before anything is mounted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from builder.command import configuration, main
from builder.session import supervisor
from tests.builder.packages import COWBUILD, Base

KEY = ("--extra-repository", "deb http://x ./", "--extra-repository-key")

WRONG_VALUES: tuple[tuple[str, ...], ...] = (
    ("--extra-package", "nothere.deb"),
    ("--extra-package", "tiny_1.dsc"),
    ("--extra-package", "text.deb"),
    ("--extra-package", "empty"),
    ("--extra-package", ""),
    ("--host", "nosucharch"),
    ("--host", "any"),
    ("--arch", "nosucharch"),
    ("--arch", "arm64"),
    ("--build", ""),
    ("--add-depends", "foo (>>> 1"),
    ("--add-depends", "foo (>= )"),
    ("--add-depends", "foo bar"),
    ("--add-depends", "foo\nBuild-Conflicts: libc6"),
    ("--add-conflicts", "foo | (= 1)"),
    ("--jobs", "0"),
    ("--jobs", "x"),
    ("--jobs=-1",),
    ("--parallel", "0"),
    ("--parallel", "1.5"),
    ("--time-limit=-5",),
    ("--time-limit", "0"),
    ("--time-limit", "nan"),
    ("--time-limit", "inf"),
    ("--time-limit", "1e12"),
    ("--silence-limit", "0"),
    ("--silence-limit", "soon"),
    ("--deps-cache-age=-1",),
    ("--deps-cache-age", "nan"),
    ("--deps-cache-size=-1",),
    ("--make-binNMU", "why"),
    ("--binNMU", "1"),
    ("--append-to-version", "+x"),
    ("--binNMU=-1", "--maintainer", "M <m@x>"),
    ("--binNMU", "1", "--maintainer", "M"),
    ("--binNMU", "1", "--maintainer", "M <m@x>\nX: y"),
    ("--binNMU", "1", "--maintainer", "M <m@x>", "--append-to-version", "a b"),
    ("--binNMU", "1", "--maintainer", "M <m@x>", "--binNMU-timestamp", "tomorrow"),
    ("--extra-repository", "http://x ./"),
    ("--extra-repository", "deb x ./"),
    ("--extra-repository", "deb http://x sid"),
    ("--extra-repository", "deb http://x ./ main"),
    ("--extra-repository", "deb [trusted] http://x ./"),
    (*KEY[2:], "key"),
    (*KEY, "nothere"),
    (*KEY, "text.deb"),
    (*KEY, "empty"),
    ("--profiles", "no check!"),
    ("--profiles", "<nocheck>"),
    ("--build-path", "relative"),
    ("--build-path", "/a/../b"),
    ("--build-path", "/proc/x"),
    ("--dist", "a b"),
    ("--output", "nothere"),
    ("--output", "text.deb"),
    ("--output", ""),
    ("--base", "nosuchbase"),
    ("--base", ""),
    ("--base", "empty"),
    ("--pre-build-commands", "if true"),
    ("--build-failed-commands", "echo 'open"),
    ("--purge-session", "x"),
    ("--purge-session", "never", "--build-in-memory"),
    ("--host", "arm64", "--run-piuparts"),
    ("--no-arch-any", "--no-arch-all"),
    ("--nosuchoption",),
)


Told = Callable[..., tuple[int, str]]


@pytest.fixture
def told(
    tmp_path: Path, base_of: Callable[..., Base], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Told:
    """Exit code and errors of a cowbuild that has to end before it makes a session; as the plain user `who` is."""
    base = base_of("root" if os.geteuid() == 0 else "user")
    monkeypatch.chdir(tmp_path)
    for kind in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind))
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.deb").write_text("text")
    for ending in (".dsc", "_amd64.changes", ".orig.tar.xz", "_amd64.deb", "_amd64.buildinfo"):
        (tmp_path / f"tiny_1{ending}").write_text("")

    def refuse(*_words: object, **_how: object) -> int:
        raise AssertionError("it was begun")

    def run(*words: str, on_base: bool = True) -> tuple[int, str]:
        monkeypatch.setattr(supervisor, "supervise", refuse)
        given: Sequence[str] = [*words, "--base", str(base.path)] if on_base and "--base" not in words else words
        monkeypatch.setattr(sys, "argv", ["cowbuild", *given])
        try:
            code = main.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("words", WRONG_VALUES, ids=" ".join)
def test_a_slip_is_told_before_anything_is_begun(told: Told, words: tuple[str, ...]) -> None:
    code, said = told("build", "tiny_1.dsc", *words)
    assert code == 2, said
    assert "cowbuild" in said


def test_a_slip_is_told_before_a_base_is_made(told: Told) -> None:
    code, said = told("build", "tiny_1.dsc", "--extra-package", "nothere.deb", on_base=False)
    assert (code, "nothere.deb" in said) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("enter", "nosuchsession"),
        ("fork", "nosuchsession"),
        ("discard", "nosuchsession"),
        ("update", "nosuchbase"),
        ("remove", "nosuchbase"),
        ("shell", "nosuchbase"),
        ("run", "nosuchbase", "true"),
        ("create", "-x"),
        ("create", "no such name"),
        ("create", "sid", "--arch", "nosucharch"),
        ("create", "sid", "--suite", "a b"),
        ("create", "sid", "--keyring", "nothere"),
        ("create", "sid", "--variant", "nosuch"),
        ("create", "nothere/sid"),
        ("create", "sid", "--mirror", "nothere"),
        ("cache", "prune", "--size=-1"),
        ("session", "export", "nosuchsession"),
        ("session", "import", "nothere"),
        ("session", "import", "text.deb", "--output", "x"),
        ("session", "import", "text.deb", "--base", "nosuchbase"),
        ("schroot-config", "nosuchbase"),
        ("schroot-config", "/", "--quota", "x"),
        ("pbuilder", "nosuchbase", "build"),
        ("pbuilder", "nosuchbase", "nosuchverb"),
    ],
    ids=" ".join,
)
def test_a_slip_with_another_verb_is_one_too(told: Told, words: tuple[str, ...]) -> None:
    code, said = told(*words, on_base=False)
    assert code == 2, said
    assert "cowbuild" in said


@pytest.mark.parametrize(
    "line",
    [
        "jobs = 0",
        "parallel = -1",
        "time-limit = -5.0",
        "time-limit = nan",
        "deps-cache-size = -1",
        'host = "nosucharch"',
        'profiles = ["a b!"]',
        'add-depends = ["foo (>>> 1"]',
        'extra-package = [""]',
        'uploader = "a\\u0000b"',
        "jobs = ",
    ],
)
def test_a_slip_in_a_file_is_one_too(told: Told, line: str) -> None:
    configuration.user_file().parent.mkdir(parents=True)
    configuration.user_file().write_text(f"[build]\n{line}\n")
    code, said = told("build", "tiny_1.dsc")
    assert code == 2, said
    assert str(configuration.user_file()) in said


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("tiny_1_amd64.changes", "says what a build made"),
        ("tiny_1_amd64.buildinfo", "says how a package was built"),
        ("tiny_1_amd64.deb", "is a built package"),
        ("tiny_1.orig.tar.xz", "is an archive of files"),
        ("nothere_1_amd64.deb", "is neither a .dsc file"),
        ("empty", "no source tree"),
        ("/dev/null", "is neither a file nor a source tree"),
        ("", "neither a .dsc file"),
    ],
)
def test_what_is_no_source_package_is_told_with_what_to_give(told: Told, package: str, said: str) -> None:
    code, complaint = told("build", package)
    assert (code, said in complaint) == (2, True), complaint
    if package.startswith("tiny"):
        assert "tiny_1.dsc" in complaint


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (("build", "--nosuch"), "usage: cowbuild build "),
        (("list", "--nosuch"), "usage: cowbuild list "),
        (("run", "x", "true", "--nosuch"), "usage: cowbuild run "),
        (("execute", "--nosuch", "x", "y"), "usage: cowbuild run "),
        (("create", "x", "--nosuch"), "usage: cowbuild create "),
        (("--nosuch", "build"), "usage: cowbuild [-h]"),
    ],
)
def test_an_unknown_option_shows_the_usage_of_its_verb(told: Told, words: tuple[str, ...], usage: str) -> None:
    code, said = told(*words, on_base=False)
    assert code == 2
    assert said.startswith(usage)
    assert "--nosuch" in said


def test_the_empty_values_that_callers_pass_are_none(told: Told) -> None:
    """wanna-build's and gbp's; the .dsc, which is empty, is what is wrong first."""
    with pytest.raises(AssertionError, match="begun"):
        told("build", "tiny_1.dsc", "--add-depends=", "--add-conflicts=", "--maintainer=", "--uploader=", "--profiles=")


@pytest.mark.parametrize("module", ["builder", "cowfs"])
def test_help_is_given_where_the_current_directory_is_gone(tmp_path: Path, module: str) -> None:
    command = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -P -m {module}"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}

    def run(words: str) -> subprocess.CompletedProcess[str]:
        whole = ["sh", "-c", f"{command} {words}"]
        return subprocess.run(whole, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    helped = run("--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    other = run("build a.dsc" if module == "builder" else "--layer layer / mountpoint")
    assert other.returncode in (1, 2, 3)
    assert "Traceback" not in other.stderr
    assert len(other.stderr.splitlines()) <= 2


@pytest.mark.parametrize("words", ["list", "sessions", "cache list", "config", "build --help", "completion bash"])
@pytest.mark.parametrize("where", ["| true", ">/dev/full", ">&-"])
def test_a_listing_whose_reader_has_gone_ends_quietly(tmp_path: Path, words: str, where: str) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = f"{' '.join(COWBUILD)} {words} {where}"
    done = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ("cowbuild: No space left on device\n" if where == ">/dev/full" and done.returncode else "")
