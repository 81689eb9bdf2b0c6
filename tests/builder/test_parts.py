"""The builder's parts that need neither root nor a session."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from builder import hostile_tree, interrupts
from builder.build import artifacts
from builder.debian import apt, depends
from builder.debian.dsc import SourcePackage, fetch, read
from builder.problems import Interrupted, Problem
from setup import demo
from setup.checksum import checksum
from tests.builder.conftest import BECOME_USER, USER

DSC = """\
Format: 3.0 (native)
Source: {name}
Architecture: any
Version: {version}
Checksums-Sha256:
 {sha256} {size} {file}
Files:
 d41d8cd98f00b204e9800998ecf8427e {size} {file}
"""


def write_dsc(
    place: Path, *, name: str = "tiny", version: str = "1", file: str = "tiny_1.tar.xz", content: bytes = b"content"
) -> Path:
    dsc = place / "tiny_1.dsc"
    digest = hashlib.sha256(content).hexdigest()
    dsc.write_text(DSC.format(name=name, version=version, file=file, size=len(content), sha256=digest))
    (place / "tiny_1.tar.xz").write_bytes(content)
    return dsc


def test_a_source_is_read_and_fetched(tmp_path: Path) -> None:
    package = read(write_dsc(tmp_path, version="1:2.0-3"))
    assert (package.name, package.version_without_epoch, package.directory_name) == ("tiny", "2.0-3", "tiny-2.0")
    target = tmp_path / "target"
    target.mkdir()
    fetch(package, target)
    assert sorted(path.name for path in target.iterdir()) == ["tiny_1.dsc", "tiny_1.tar.xz"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "..", ".", ".hidden", "a/b", "-option", "a b", "a\\b"])
def test_a_listed_name_that_is_no_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Problem):
        read(write_dsc(tmp_path, file=name))


@pytest.mark.parametrize(("name", "version"), [("../tiny", "1"), ("Tiny", "1"), ("tiny", "1/2"), ("tiny", "$(id)")])
def test_a_source_name_or_version_out_of_policy_is_refused(tmp_path: Path, name: str, version: str) -> None:
    with pytest.raises(Problem):
        read(write_dsc(tmp_path, name=name, version=version))


@pytest.mark.parametrize("content", [b"c0ntent", b"content and more", b""])
def test_a_file_that_is_not_as_listed_is_refused(tmp_path: Path, content: bytes) -> None:
    package = read(write_dsc(tmp_path))
    (tmp_path / "tiny_1.tar.xz").write_bytes(content)
    (tmp_path / "target").mkdir()
    with pytest.raises(Problem):
        fetch(package, tmp_path / "target")


@pytest.mark.parametrize("text", ["", "no fields at all", "Source: x\n"])
def test_what_is_no_dsc_is_refused(tmp_path: Path, text: str) -> None:
    dsc = tmp_path / "x.dsc"
    dsc.write_text(text)
    with pytest.raises(Problem):
        read(dsc)


def relations(choice: depends.Choice, **fields: str) -> depends.WantedPackages:
    named = {name.replace("_", "-"): text for name, text in fields.items()}
    return depends.requested(SourcePackage(Path("x"), "x", "1", ("any",), named, (), ""), choice)


@pytest.mark.parametrize(
    ("field", "kept"),
    [
        ("a, b (>= 2), c:native", "a, b (>= 2), c:native"),
        ("a | b", "a"),
        ("a [arm64] | b", "b"),
        ("a [amd64], b [!amd64], c [linux-any], d [any-i386]", "a, c"),
        ("a <!nocheck>, b <nocheck>, c <cross> <stage1>, d <!cross !stage1>", "a, d"),
        ("a,\n b,\n# a comment\n c ,", "a, b, c"),
        ("a [!amd64]", ""),
    ],
)
def test_relations_hold_by_architecture_and_profile(field: str, kept: str) -> None:
    request = relations(depends.Choice("amd64"), Build_Depends=field)
    assert request.depends == ", ".join(filter(None, [depends.IMPLICIT, kept]))


def test_relations_of_what_is_not_built_do_not_count() -> None:
    fields = {"Build_Depends": "a", "Build_Depends_Arch": "b", "Build_Depends_Indep": "c", "Build_Conflicts": "d"}
    request = relations(depends.Choice("amd64", build_all=False), **fields)
    assert (request.depends, request.conflicts) == (f"{depends.IMPLICIT}, a, b", "d")


def test_all_alternatives_are_kept_when_asked_for() -> None:
    request = relations(depends.Choice("amd64", all_alternatives=True), Build_Depends="a | b [arm64] | c")
    assert request.depends == f"{depends.IMPLICIT}, a | c"


class Hostile:
    """A session's root in which a build wrote a .changes and what it names."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.results = self.root / "build/results"
        self.staging = place / "staging"
        self.results.mkdir(parents=True)
        self.staging.mkdir()
        (place / "secret").write_bytes(b"content")

    def changes(self, name: str, content: bytes = b"content") -> None:
        digest = hashlib.sha256(content).hexdigest()
        (self.results / "x_1_amd64.changes").write_text(
            f"Format: 1.8\nSource: x\nVersion: 1\nChecksums-Sha256:\n {digest} {len(content)} {name}\n"
            f"Files:\n d41d8cd98f00b204e9800998ecf8427e {len(content)} misc optional {name}\n"
        )

    def take(self) -> artifacts.Artifacts:
        return artifacts.take(self.root, "build/results", self.staging)


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(tmp_path)


def test_artifacts_are_taken_and_published(hostile: Hostile, tmp_path: Path) -> None:
    hostile.changes("x_1_amd64.deb")
    (hostile.results / "x_1_amd64.deb").write_bytes(b"content")
    taken = hostile.take()
    assert taken.names == ("x_1_amd64.changes", "x_1_amd64.deb")
    (tmp_path / "output").mkdir()
    (tmp_path / "output/x_1_amd64.deb").symlink_to(tmp_path / "secret")
    artifacts.publish(taken, tmp_path / "output")
    assert (tmp_path / "output/x_1_amd64.deb").read_bytes() == b"content"
    assert not (tmp_path / "output/x_1_amd64.deb").is_symlink()
    assert (tmp_path / "secret").read_bytes() == b"content"
    assert sorted(os.listdir(tmp_path / "output")) == ["x_1_amd64.changes", "x_1_amd64.deb"]


@pytest.mark.parametrize("name", ["../../../secret", "/etc/hostname", ".."])
def test_a_changes_that_names_files_elsewhere_is_refused(hostile: Hostile, name: str) -> None:
    hostile.changes(name)
    with pytest.raises(Problem, match="forbidden name"):
        hostile.take()


def test_an_artifact_that_is_a_link_is_refused(hostile: Hostile, tmp_path: Path) -> None:
    hostile.changes("x.deb")
    (hostile.results / "x.deb").symlink_to(tmp_path / "secret")
    with pytest.raises(Problem, match="cannot be taken"):
        hostile.take()
    assert os.listdir(hostile.staging) == ["x_1_amd64.changes"]


def test_an_artifact_that_is_a_fifo_is_refused_at_once(hostile: Hostile) -> None:
    hostile.changes("x.deb")
    os.mkfifo(hostile.results / "x.deb")
    with pytest.raises(Problem, match="cannot be taken"):
        hostile.take()


@pytest.mark.parametrize("content", [b"c0ntent", b"content and more", b"c"])
def test_an_artifact_that_is_not_as_listed_is_refused(hostile: Hostile, content: bytes) -> None:
    hostile.changes("x.deb")
    (hostile.results / "x.deb").write_bytes(content)
    with pytest.raises(Problem):
        hostile.take()


def test_a_results_directory_that_is_a_link_is_refused(hostile: Hostile, tmp_path: Path) -> None:
    hostile.changes("x.deb")
    hostile.results.rename(tmp_path / "elsewhere")
    hostile.results.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"elsewhere|results"):
        hostile.take()


def test_no_changes_or_two_are_refused(hostile: Hostile) -> None:
    with pytest.raises(Problem, match=r"0 \.changes"):
        hostile.take()
    hostile.changes("x.deb")
    (hostile.results / "y_1_amd64.changes").touch()
    with pytest.raises(Problem, match=r"2 \.changes"):
        hostile.take()


def test_copying_in_never_writes_through_a_link(tmp_path: Path) -> None:
    ours, root = tmp_path / "ours", tmp_path / "root"
    ours.write_text("new")
    root.mkdir()
    (tmp_path / "precious").write_text("old")
    (root / "name").symlink_to(tmp_path / "precious")
    with hostile_tree.directory(root, "") as place, pytest.raises(FileExistsError):
        hostile_tree.copy_in(ours, place, "name")
    assert (tmp_path / "precious").read_text() == "old"


def test_a_directory_is_made_beneath_and_through_no_link(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    before = os.umask(0o077)
    try:
        hostile_tree.make_directory(root, "a/b", (os.getuid(), os.getgid()))
        hostile_tree.make_directory(root, "a/b", (os.getuid(), os.getgid()))
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / "a").stat().st_mode) == stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755
    (root / "link").symlink_to(elsewhere)
    with pytest.raises(OSError, match="link"):
        hostile_tree.make_directory(root, "link/b", (os.getuid(), os.getgid()))
    assert not list(elsewhere.iterdir())


def test_the_checksum_sees_each_kind_of_change(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    file = tree / "file"
    file.write_text("a")
    (tree / "link").symlink_to("file")
    moment = 1_000_000_000

    def settled() -> str:
        for path in (file, tree):
            os.utime(path, ns=(moment, moment))
        return checksum(tree)

    seen = {settled()}
    copy = tree.parent / "copy"
    copy.write_text("b")
    changes: list[Callable[[], object]] = [
        lambda: file.write_text("b"),
        lambda: file.chmod(0o600),
        lambda: os.link(file, tree / "other"),
        lambda: os.replace(copy, tree / "other"),
        lambda: os.setxattr(file, "user.x", b"1"),
        (tree / "new").mkdir,
    ]
    for count, change in enumerate(changes, start=2):
        change()
        seen.add(settled())
        assert len(seen) == count
    os.utime(file, ns=(moment, moment + 1))
    assert checksum(tree) not in seen


@pytest.mark.parametrize("step", range(1, 20))
def test_a_signal_while_a_directory_is_opened_loses_no_descriptor(tmp_path: Path, step: int) -> None:
    """Raised by a trace function, as Python raises from a signal's handler: before any line."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    steps = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal steps
        if frame.f_code.co_filename != hostile_tree.__file__:
            return None
        steps += event == "line"
        if event == "line" and steps == step:
            interrupts.interrupt(2)
        return trace

    before = os.listdir("/proc/self/fd")
    former = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(Interrupted), hostile_tree.directory(tmp_path, "a/b/c"):
            sys.settrace(former)
            assert steps < step
    finally:
        sys.settrace(former)
    assert os.listdir("/proc/self/fd") == before


def test_a_signal_waits_for_what_may_not_be_cut_short() -> None:
    done = []

    def work() -> None:
        with interrupts.uninterrupted():
            with interrupts.uninterrupted():
                interrupts.interrupt(15)
                done.append("inner")
            done.append("outer")

    with pytest.raises(Interrupted):
        work()
    assert done == ["inner", "outer"]
    with interrupts.uninterrupted():
        pass  # it came once only


@pytest.mark.parametrize("had", [0, 1, len(demo.PACKAGES)])
def test_the_demo_takes_the_first_package_that_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], had: int
) -> None:
    def download(name: str, _version: None, _suite: str, directory: Path) -> Path:
        if demo.PACKAGES.index(name) < had:
            raise Problem(f"Cannot fetch {name}", "404")
        return directory / f"{name}.dsc"

    monkeypatch.setattr(apt, "download_source", download)
    if had == len(demo.PACKAGES):
        with pytest.raises(Problem, match=demo.PACKAGES[0]):
            demo.fetch("sid", tmp_path)
        return
    name, dsc = demo.fetch("sid", tmp_path)
    assert (name, dsc.name) == (demo.PACKAGES[had], f"{name}.dsc")
    assert (f"Taking {name} instead of hello" in capsys.readouterr().out) == (had > 0)


CHECK = """
from builder import log, rootless
try:
    rootless.check()
except log.Problem as problem:
    print(problem)
"""


@pytest.mark.root
def test_that_no_user_namespace_can_be_made_is_found_out_at_once(tmp_path: Path) -> None:
    """In a chroot nobody can, and unshare leaves a process that waits for ever."""
    enter = 'mount --rbind / "$1" && exec chroot "$@"'
    done = subprocess.run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", enter, "sh", tmp_path),
            *("sh", "-c", BECOME_USER, "become-user", str(USER), sys.executable, "-P", "-c", CHECK),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.stdout == "A user namespace cannot be made\n", done.stderr
