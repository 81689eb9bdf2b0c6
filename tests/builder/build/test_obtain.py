"""Source trees: where what is made of them goes, and that they are afterwards as they were."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.builder.packages import COWBUILD, Workplace, for_both, make_source

CHANGE = "--- a/file\n+++ b/file\n@@ -1 +1 @@\n-one\n+two\n"

# Ends a build when its source package is made, before there is a session.
NO_FURTHER = ("--pre-build-commands", "false")


def snapshot(tree: Path) -> dict[str, tuple[int, int, int, str | bytes]]:
    """All of a tree that a build could change."""
    found: dict[str, tuple[int, int, int, str | bytes]] = {}
    for path in [tree, *sorted(tree.rglob("*"))]:
        status = path.lstat()
        content: str | bytes = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path.relative_to(tree))] = (status.st_mode, status.st_uid, status.st_mtime_ns, content)
    return found


def make_tree(work: Workplace, kind: str, name: str = "tiny-1") -> Path:
    """A tree of a format, alone in its parent but for the upstream tarball."""
    place = work.place / "trees"
    place.mkdir()
    dsc = make_source(place)
    for made in (dsc, *place.glob("*.tar.*")):
        made.unlink()
    tree = (place / "tiny-1").rename(place / name)
    (tree / "file").write_text("one\n")
    if kind in ("1.0", "applied", "unapplied", "broken"):
        changelog = tree / "debian/changelog"
        changelog.write_text(changelog.read_text().replace("(1)", "(1-1)"))
        tarball = ["tar", "--no-unquote", "-czf", "tiny_1.orig.tar.gz", "--exclude=debian", f"./{name}"]
        subprocess.run(tarball, cwd=place, check=True)
        (tree / "debian/source/format").write_text("1.0\n" if kind == "1.0" else "3.0 (quilt)\n")
    if kind in ("applied", "unapplied", "broken"):
        (tree / "debian/patches").mkdir()
        (tree / "debian/patches/series").write_text("change\n")
        (tree / "debian/patches/change").write_text(CHANGE.replace("-one", "-else") if kind == "broken" else CHANGE)
    if kind == "applied":
        subprocess.run(["dpkg-source", "--before-build", tree], cwd=place, check=True, capture_output=True)
        assert (tree / "file").read_text() == "two\n"
    owner = work.output.stat().st_uid
    for path in [place, *place.rglob("*")]:
        os.chown(path, owner, owner, follow_symlinks=False)
    return tree


def started(work: Workplace, tree: Path, *options: str) -> subprocess.Popen[str]:
    """A build as of one who is in the tree."""
    given = ("--base", str(work.base.path), "--no-apt-update", "--no-deps-cache", *options)
    return subprocess.Popen(
        [*work.base.owner.before, *COWBUILD, "build", *given],
        cwd=tree,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=work.environment,
    )


def build(work: Workplace, tree: Path, *options: str) -> tuple[int, str]:
    with started(work, tree, *options) as process:
        printed, _nothing = process.communicate()
    work.assert_nothing_left()
    return process.returncode, printed


@for_both
def test_a_tree_is_built_again_and_again_and_what_is_made_is_beside_it(work: Workplace) -> None:
    tree = make_tree(work, "native")
    before = snapshot(tree)
    code, printed = build(work, tree, "--source")
    assert code == 0, printed
    made = {path.name for path in tree.parent.iterdir()}
    assert {"tiny_1.dsc", "tiny_1.tar.xz", "tiny_1_amd64.changes", "tiny_1_amd64.build"} <= made
    listed = subprocess.check_output(["tar", "-tf", tree.parent / "tiny_1.tar.xz"], text=True).split()
    code, printed = build(work, tree, "--source")
    assert code == 0, printed
    assert subprocess.check_output(["tar", "-tf", tree.parent / "tiny_1.tar.xz"], text=True).split() == listed
    assert snapshot(tree) == before
    assert not list(work.output.iterdir())


@for_both
def test_a_tree_with_patches_not_applied_is_built_and_they_stay_so(work: Workplace) -> None:
    tree = make_tree(work, "unapplied")
    (tree / "debian/script").write_text("grep two file\n")
    before = snapshot(tree)
    code, printed = build(work, tree, "--output", str(work.output))
    assert code == 0, printed
    assert snapshot(tree) == before
    assert sorted(path.name for path in tree.parent.iterdir()) == ["tiny-1", "tiny_1.orig.tar.gz"]
    assert list(work.output.glob("*.deb"))


@pytest.mark.parametrize("kind", ["native", "1.0", "applied", "unapplied"])
def test_making_the_source_package_leaves_the_tree_as_it_was(work: Workplace, kind: str) -> None:
    tree = make_tree(work, kind, "of: any\\name" if kind == "applied" else "tiny-1")
    before = snapshot(tree)
    code, printed = build(work, tree, *NO_FURTHER)
    assert (code, "run-pre-build-commands" in printed) == (1, True), printed
    assert snapshot(tree) == before


@for_both
def test_a_tree_that_no_source_package_can_be_made_of_is_as_it_was_and_given_back(work: Workplace) -> None:
    tree = make_tree(work, "broken")
    (tree / "debian/patches/first").write_text("--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+new\n")
    (tree / "debian/patches/series").write_text("first\nchange\n")
    before = snapshot(tree)
    code, printed = build(work, tree)
    assert code == 3, printed
    assert f"No source package can be made of {tree}" in printed
    assert snapshot(tree) == before


@for_both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_while_the_source_package_is_made_the_tree_is_as_it_was(
    work: Workplace, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(work, "unapplied")
    programs, reached = work.output / "bin", work.output / "reached"
    programs.mkdir()
    real = shutil.which("dpkg-source")
    (programs / "dpkg-source").write_text(f'#!/bin/sh\n{real} "$@"; touch {reached}; sleep 1000\n')
    (programs / "dpkg-source").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    before = snapshot(tree)
    with started(work, tree) as process:
        give_up = time.monotonic() + 60
        while not reached.exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        assert reached.exists()
        process.send_signal(number)
        process.communicate()
    work.assert_nothing_left()
    assert snapshot(tree) == before


def test_a_session_is_not_made_in_the_tree_that_is_built(work: Workplace) -> None:
    tree = make_tree(work, "native")
    (tree / "sessions").mkdir()
    environment = {**work.environment, "TMPDIR": str(tree / "sessions")}
    command = [*COWBUILD, "build", "--base", str(work.base.path), "--no-deps-cache"]
    told = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 3
    assert "is in the source tree" in told.stderr
    assert not list((tree / "sessions").iterdir())


@pytest.mark.parametrize("text", ["", "\xff\x00garbage\n\n", "tiny (1 unstable\n", "../x (1) sid; urgency=low\n\n"])
def test_a_changelog_that_tells_nothing_is_said_to_do_so(work: Workplace, text: str) -> None:
    tree = make_tree(work, "native")
    (tree / "debian/changelog").write_text(text, encoding="latin-1")
    code, printed = build(work, tree)
    assert code == 3
    assert printed.startswith("cowbuild: ")
    assert "Traceback" not in printed
    assert "changelog" in printed
