"""What sbuild's words ask of a build: the recorded command lines of its callers, and single meanings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.build.job import BuildOptions
from builder.problems import Misuse
from builder.sbuild import meaning, options
from builder.sbuild.variables import defaults
from tests.builder.sbuild.trees import debian_tree

MAINTAINER = "Somebody <somebody@localhost>"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return debian_tree(tmp_path / "tree")


def asked(tree: Path, *words: str, **configured: Any) -> BuildOptions:
    given = options.parse(words, {**defaults(), **configured})
    said = sorted(given.said)
    dist = given.settings["distribution"] or "unstable"
    what = meaning.Asked(given.settings, said, given.packages[0], dist, "/out", str(tree))
    return meaning.build_options(what, Path("/in/x_1.dsc"), tree)


# As read in the callers' sources, which Debian 12 has not, or which cannot run without the network.
RECORDED = {
    "dgit 13": ["--no-source", "--no-source-only-changes", "-d", "unstable", "x_1.dsc"],
    "ratt": [
        *("--arch-all", "--dist=sid", "--nolog", "--extra-repository=deb http://localhost/d sid main"),
        *("--build-dep-resolver=aspcud", "--aspcud-criteria=-removed,-new", "--add-depends=p (= 1:2)", "x_1:2-3"),
    ],
    "ratt, without backports": ["--arch-all", "--dist=sid", "--nolog", "x_1:2-3", "--extra-package=/d/p_1_all.deb"],
    "Salsa CI": [
        *("--dist=sid", "--no-clean-source", "--host=arm64", "--arch-any", "--no-arch-all", "--build-dir=/w"),
        *("--debbuildopts=", "--no-run-lintian", "--verbose", "--extra-repository-key=/k.asc", "."),
    ],
    "buildd": [
        *("--apt-update", "--no-apt-upgrade", "--no-apt-distupgrade", "--no-run-lintian", "--batch", "--stats-dir=/s"),
        *("--dist=unstable", "--sbuild-mode=buildd", "--mailfrom=a", f"--maintainer={MAINTAINER}", "--keyid=K"),
        *("--dpkg-file-suffix=-b", "--mail-log-to=b", "--build-dep-resolver=apt", "--arch-all", "--no-arch-any"),
        *("--arch=amd64", "--chroot=unstable-amd64-sbuild", "--add-conflicts=c", "--add-depends=d", "x_1"),
    ],
    "debusine": [
        *("--purge-deps=never", "--no-run-lintian", "--arch-any", "--no-arch-all", "--no-source", "--arch=amd64"),
        *("--dist=sid", "--chroot-mode=unshare", "--chroot=/t.tar", "--chroot-setup-commands=rm -f /etc/resolv.conf"),
        "--pre-build-commands=cat /f | %SBUILD_CHROOT_EXEC sh -c 'cat > /etc/apt/x'",
        *("--make-binNMU=why", "--append-to-version=+x", "--binNMU=0", "--binNMU-timestamp=1700000000"),
        *(f"--maintainer={MAINTAINER}", "--profiles=nodoc,nocheck", "--build-dep-resolver=aptitude"),
        *("--bd-uninstallable-explainer=dose3", "--extra-package=/d/p_1_all.deb", "x_1.dsc"),
    ],
    "debrebuild": [
        *("--build=amd64", "--host=amd64", "--no-source", "--arch-any", "--no-arch-all", "--chroot=/t.tar"),
        *("--binNMU-changelog=x (1+b1) sid; urgency=low, binary-only=yes\n\n  * y\n", "--chroot-mode=unshare"),
        *("--dist=unstable", "--no-run-lintian", "--no-run-piuparts", "--no-run-autopkgtest", "--no-apt-update"),
        *("--no-apt-upgrade", "--no-apt-distupgrade", "--verbose", "--nolog", "--bd-uninstallable-explainer="),
        *("--build-path=/build/x", "--dsc-dir=x-1", "x_1.dsc"),
    ],
    "silver-platter": ["-A", "-s", "-v", "."],
    "deb-o-matic": [
        *("--chroot-mode=unshare", "-A", "-s", "-d", "sid", "--arch=amd64", "-c", "sid-amd64-debomatic"),
        *("--no-run-lintian", "--build-dep-resolver=aspcud", "--aspcud-criteria=-count(down)", "--force-orig-source"),
        *("--debbuildopt=-v1~", "--log-external-command-output", "--log-external-command-error", "x_1.dsc"),
    ],
    "mini-buildd": [
        *("--dist=sid", "--arch=amd64", "--chroot=mini", "--chroot-setup-command=true", "--build-dep-resolver=apt"),
        *("--keyid=K", "--nolog", "--log-external-command-output", "--log-external-command-error", "--arch-all"),
        *("--run-lintian", "--lintian-opts=-i -I", "x_1.dsc"),
    ],
    "launchpad-buildd": ["-c", "chroot:build-PACKAGE", "--arch=amd64", "--dist=noble", "--nolog", "-A", "x_1.dsc"],
    "ros-deb-builder-action": [
        *("--chroot-mode=unshare", "--no-clean-source", "--no-run-lintian", "--no-source"),
        *("--dpkg-source-opts=-Zgzip -z1 --format=1.0 -sn", "--build-dir=/b", "--extra-package=/d", "-d", "sid", "."),
    ],
}


@pytest.mark.parametrize("caller", RECORDED)
def test_a_caller_s_command_line_is_a_build_that_can_be(tree: Path, caller: str) -> None:
    record = asked(tree, *RECORDED[caller])
    assert record.output == Path("/out")
    record.rebuild.check()


def test_what_debusine_asks_for(tree: Path) -> None:
    record = asked(tree, *RECORDED["debusine"])
    assert record.rebuild.version("1-2") == "1-2+x"  # the number 0 is not seen
    assert (record.resolver, record.explainer, record.profiles) == ("aptitude", "dose3", ("nodoc", "nocheck"))
    assert not record.cached


def test_what_debrebuild_asks_for(tree: Path) -> None:
    record = asked(tree, *RECORDED["debrebuild"], apt_get="/bin/true", apt_cache="/bin/true")
    assert record.rebuild.version("1") == "1+b1"
    assert record.rebuild.entry("x", "1", "sid", "amd64") == ("x (1+b1) sid; urgency=low, binary-only=yes\n\n  * y\n\n")
    assert (record.resolver, record.apt_update, record.apt_upgrade) == ("null", False, False)
    assert (record.source_directory, record.build_place) == ("x-1", "/build/x")


def test_what_a_buildd_asks_for(tree: Path) -> None:
    record = asked(tree, *RECORDED["buildd"])
    assert (record.build_type, record.for_wanna_build, record.file_suffix) == ("all", True, "-b")
    assert [note.partition(":")[0] for note in record.notes] == [
        "no mail is sent",
        "no statistics are written",
        "no file says how far the build is",
    ]


def test_the_environment_that_passes_is_sbuild_s(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CFLAGS": "-O1", "SECRET": "x", "LC_ALL": "de_DE", "SOURCE_DATE_EPOCH": "7"}.items():
        monkeypatch.setenv(name, value)
    environment = asked(tree, "x", build_environment={"SECRET": "own"}).environment or {}
    assert (environment["CFLAGS"], environment["SOURCE_DATE_EPOCH"], environment["SECRET"]) == ("-O1", "7", "own")
    assert "LC_ALL" not in environment
    assert "SECRET" not in (asked(tree, "x").environment or {})
    filtered = asked(tree, "x", environment_filter=["^SEC"]).environment or {}
    assert (filtered["SECRET"], filtered.get("CFLAGS")) == ("x", None)
    with pytest.raises(Misuse, match="environment_filter"):
        asked(tree, "x", environment_filter=["("])


def test_a_number_alone_rebuilds_nothing(tree: Path) -> None:
    assert not asked(tree, "--binNMU=3", "x").rebuild.wanted
    record = asked(tree, "--make-binNMU=why", f"-m{MAINTAINER}", "x")
    assert (record.rebuild.version("1"), record.build_type) == ("1+b1", "any")


@pytest.mark.parametrize(
    ("words", "configured", "said"),
    [
        (["--build-dep-resolver=xapt"], {}, "no resolver 'xapt'"),
        (["--bd-uninstallable-explainer=me"], {}, "no explainer 'me'"),
        (["--sbuild-mode=x"], {}, "neither user nor buildd"),
        (["--purge-session=x"], {}, "none of always"),
        ([], {"apt_get": "/opt/apt-get-x"}, r"\$apt_get is set to"),
        ([], {"external_commands": {"no-such-commands": ["x"]}}, "names no point"),
        (["--build=i386"], {}, "of the architecture amd64, not of i386"),
    ],
)
def test_what_cannot_be_is_refused(tree: Path, words: list[str], configured: dict[str, Any], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        asked(tree, *words, "x", **configured)


def test_what_looks_at_packages_does_so_in_sessions(tree: Path) -> None:
    configured = {
        "run_autopkgtest": 1,
        "autopkgtest_opts": ["-U", "--", "schroot", "%r-%a-sbuild"],
        "run_piuparts": 1,
        "piuparts_opts": ["--schroot", "sid", "--no-eatmydata", "--schroot=x"],
        "lintian_require_success": 1,
    }
    found = {test.program: (test.options, test.must_succeed) for test in asked(tree, "x", **configured).tests}
    assert found == {"lintian": ((), True), "piuparts": (("--no-eatmydata",), False), "autopkgtest": (("-U",), False)}


def test_a_command_of_words_is_not_taken_apart(tree: Path) -> None:
    commands = {"starting-build-commands": ["a b", ["c d", "%p"]], "log-commands": []}
    assert asked(tree, "x", external_commands=commands).commands == {"starting-build": ["a b", "'c d' %p"]}
