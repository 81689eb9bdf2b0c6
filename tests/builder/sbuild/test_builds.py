"""Builds by cowbuild-sbuild: tarballs, addresses, signatures, logs elsewhere, trees, solvers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.debian import apt
from builder.process import together
from tests.builder.conftest import USER
from tests.builder.packages import Base, Workplace, for_both, log_of, make_source

SBUILD = (sys.executable, "-P", "-m", "builder.command.sbuild_main")

# What takes time and is not what a test is about.
QUICK = ("--no-run-lintian", "--no-apt-update", "--no-apt-distupgrade", "--build-dep-resolver=null")


def sbuild(
    work: Workplace, *words: str | Path, place: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run cowbuild-sbuild in a directory, else the output's; exit code and what it printed."""
    own = {"XDG_DATA_HOME": str(work.place / "data"), "HOME": str(work.place), **(environment or {})}
    command = [*work.base.owner.before, *SBUILD, *words]
    done = together(command, environment={**work.environment, **own}, directory=place or work.output)
    work.assert_nothing_left()
    return done.returncode, done.stdout


@contextmanager
def served(place: Path) -> Iterator[str]:
    """The address of a web server of the files in a directory."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(place))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_no_base_is_made_for_a_source_that_is_not_to_be_had(work: Workplace) -> None:
    code, printed = sbuild(work, "--nolog", "-d", apt.machine_suite(), work.place / "none_1.dsc")
    assert code == 3
    assert f"E: Could not find {work.place}/none_1.dsc" in printed
    assert "making it" not in printed
    assert not (work.place / "data").exists()


@for_both
def test_a_tarball_is_unpacked_once_into_a_base(work: Workplace, base_of: Callable[..., Base]) -> None:
    tarball = work.place / "unstable-amd64.tar"
    # As root made it: whoever unpacks it has other ids.
    root = base_of("root").path
    command = ["tar", "--create", "--numeric-owner", "--exclude=./dev/*", "--exclude=./var/lib/apt/lists/*"]
    command += [
        "--exclude=./usr/share/doc",
        "--exclude=./usr/share/locale",
        "--file",
        str(tarball),
        "--directory",
        str(root),
        ".",
    ]
    subprocess.run(command, check=True)
    (work.place / "data").mkdir(mode=0o700)
    if work.base.owner.before:
        os.chown(work.place / "data", USER, USER)
    make_source(work.place, "id -un")
    words = (*QUICK, "--chroot-mode=unshare", f"--chroot={tarball}", "-d", "unstable", "--nolog")
    code, printed = sbuild(work, *words, work.place / "tiny_1.dsc")
    assert code == 0, printed
    assert "\ncowbuild\n" in printed
    [name] = [path.name for path in (work.place / "data/cowfs/bases").iterdir()]
    assert re.fullmatch("tarball-[0-9a-f]{16}", name)
    assert {path.name for path in work.output.iterdir()} == {
        *("tiny_1_amd64.deb", "tiny_1_amd64.changes", "tiny_1_amd64.buildinfo")
    }
    subprocess.run(
        [*work.base.owner.before, sys.executable, "-P", "-m", "builder", "remove", name],
        env={**work.environment, "XDG_DATA_HOME": str(work.place / "data")},
        check=True,
        capture_output=True,
    )


def test_a_dsc_is_fetched_built_logged_elsewhere_and_signed(work: Workplace) -> None:
    given, logs, home = (work.place / name for name in ("given", "logs", "gnupg"))
    for place in (given, logs, home):
        place.mkdir(mode=0o700)
    make_source(given, "true")
    gpg = {**os.environ, "GNUPGHOME": str(home)}
    key = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "Tester <t@localhost>", "ed25519"]
    subprocess.run(key, env=gpg, check=True, capture_output=True)
    (work.place / "config.pl").write_text(f"$log_dir = '{logs}'; $key_id = 't@localhost'; $mystery = 1; 1;")
    environment = {"SBUILD_CONFIG": str(work.place / "config.pl"), "GNUPGHOME": str(home), "no_proxy": "127.0.0.1"}
    try:
        with served(given) as address:
            words = (*QUICK, "-d", "unstable", "-c", work.base.path, f"{address}/tiny_1.dsc")
            code, printed = sbuild(work, *words, environment=environment)
            missing = sbuild(work, *words[:-1], f"{address}/none_1.dsc", environment=environment)
    finally:
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=gpg, check=True)
    assert code == 0, printed
    assert printed.startswith("W: $mystery is set")
    assert (work.output / "tiny_1_amd64.changes").read_text().startswith("-----BEGIN PGP SIGNED MESSAGE-----")
    assert {"tiny_1.dsc", "tiny_1.tar.xz"} < {path.name for path in work.output.iterdir()}
    assert "Status: successful" in log_of(logs)
    assert (work.output / "tiny_1_amd64.build").resolve().parent == logs
    assert (missing[0], "E: Could not download" in missing[1]) == (1, True)


def test_a_tree_that_cannot_be_packed_is_told_as_sbuild_tells_it(work: Workplace) -> None:
    make_source(work.place, "true")
    tree = work.place / "tiny-1"
    (tree / "debian/source/format").write_text("4.0 (none)\n")
    code, printed = sbuild(work, *QUICK, "--no-clean-source", place=tree)
    assert code == 1
    assert f"E: Failed to run dpkg-source --before-build {tree}" in printed
    (tree / "debian/source/format").write_text("3.0 (native)\n")
    (tree / "debian/rules").write_text("#!/bin/sh\nexit 7\n")
    code, printed = sbuild(work, *QUICK, place=tree)
    assert (code, f"E: Failed to clean source directory {tree}" in printed) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--no-such-option"], "E: sbuild would not understand this: option --no-such-option not recognized"),
        (["a.dsc", "b.dsc"], "E: Only one build is permitted"),
        (["hello"], "E: No distribution defined"),
        (["-d", "sid", "--chroot-mode=autopkgtest", "hello"], "E: There is no chroot mode autopkgtest here"),
    ],
)
def test_a_mistake_ends_with_1(work: Workplace, words: list[str], said: str) -> None:
    code, printed = sbuild(work, *words)
    assert code == 1
    assert said in printed
    assert "Traceback" not in printed


@pytest.mark.timeout(900)
def test_other_solvers_find_the_dependencies_and_dose_says_why_not(work: Workplace) -> None:
    """With the network: they are installed in the session."""
    make_source(work.place, "test -e /usr/bin/hello", depends="dpkg-dev, hello")
    common = ("--no-run-lintian", "--no-apt-update", "--no-apt-distupgrade", "-d", "unstable", "-c", work.base.path)
    for resolver in ("aspcud", "aptitude"):
        words = (*common, "--nolog", f"--build-dep-resolver={resolver}", work.place / "tiny_1.dsc")
        code, printed = sbuild(work, *words)
        assert code == 0, printed
    dsc = work.place / "tiny_1.dsc"
    dsc.write_text(dsc.read_text().replace("dpkg-dev, hello", "hello (>= 99)"))
    code, printed = sbuild(work, *common, "--nolog", "--bd-uninstallable-explainer=dose3", dsc)
    assert code == 3
    assert re.search(r"\(I\)Dose_applications: Solving\.\.\.(?s:.*)unsat-dependency: hello", printed)
