"""Bases by name: replaced in one step, kept as long as somebody works on them."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.command import main
from builder.problems import Problem
from builder.store import bases as bases_module
from builder.store import dependency_layers, kept_sessions
from tests.builder.packages import COWBUILD, Base
from tests.harness.actions import opened
from tests.harness.users import as_user

# Neither who runs the tests nor the plain user of the tests.
OTHER = 58232


def assert_closed_to_others(path: Path) -> None:
    """As far as this can be asked: only root can become somebody else."""
    if os.geteuid() == 0:
        with pytest.raises(PermissionError):
            as_user(path.stat, OTHER)


@pytest.fixture
def bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bases_module, "bases_directory", lambda: tmp_path)
    return tmp_path


def make_tree(bases: Path, content: str) -> Path:
    tree = bases / f"made-{content}"
    tree.mkdir()
    (tree / "content").write_text(content)
    return tree


def test_a_new_tree_takes_over_and_the_old_one_goes(bases: Path) -> None:
    for content in ("one", "two"):
        bases_module.publish("sid", make_tree(bases, content))
        assert (bases_module.find("sid") / "content").read_text() == content
    assert bases_module.names() == ["sid"]
    assert len(list((bases / "sid").glob("tree.*"))) == 1


def test_of_two_builds_that_want_the_same_base_one_makes_it_or_the_next_where_it_fails(bases: Path) -> None:
    begun, going_on = threading.Event(), threading.Event()
    made = []

    def make(content: str, code: int) -> int:
        begun.set()
        going_on.wait(60)
        made.append(content)
        if code == 0:
            bases_module.publish("sid", make_tree(bases, content))
        return code

    with ThreadPoolExecutor() as pool:
        first = pool.submit(bases_module.make_once, "sid", lambda: make("fails", 1))
        assert begun.wait(60)
        others = [pool.submit(bases_module.make_once, "sid", lambda: make("made", 0)) for _ in range(2)]
        going_on.set()
        assert [each.result(60) for each in (first, *others)] == [1, 0, 0]
    assert made == ["fails", "made"]
    assert bases_module.names() == ["sid"]


def test_a_tree_in_use_stays_until_nobody_uses_it(bases: Path) -> None:
    bases_module.publish("sid", make_tree(bases, "one"))
    with bases_module.base_in_use("sid") as tree:
        bases_module.publish("sid", make_tree(bases, "two"))
        assert (tree / "content").read_text() == "one"
        assert (bases_module.find("sid") / "content").read_text() == "two"
        with bases_module.base_in_use("sid") as newer:
            assert newer != tree
    bases_module.publish("sid", make_tree(bases, "three"))
    assert not tree.exists()


def test_a_base_at_a_path_is_replaced_in_one_step_and_stays_while_it_is_used(bases: Path) -> None:
    at = bases / "base.cow"
    bases_module.put_at(at, make_tree(bases, "one"))
    assert stat.S_IMODE(at.stat().st_mode) == 0o700
    at.chmod(0o755)
    (bases / ".base.cow.mine").mkdir()
    with bases_module.base_in_use(str(at)) as tree, opened(os.fsencode(tree)) as used:
        bases_module.publish_at(at, make_tree(bases, "two"))
        assert (at / "content").read_text() == "two"
        assert stat.S_IMODE(at.stat().st_mode) == 0o755
        with open("content", opener=lambda name, flags: os.open(name, flags, dir_fd=used)) as kept:
            assert kept.read() == "one"
        assert len(list(bases.glob(".base.cow.*"))) == 2
    bases_module.publish_at(at, make_tree(bases, "three"))
    assert (at / "content").read_text() == "three"
    assert [path.name for path in bases.glob(".base.cow.*")] == [".base.cow.mine"]


def test_a_base_in_use_is_not_removed(bases: Path) -> None:
    bases_module.publish("sid", make_tree(bases, "one"))
    with bases_module.base_in_use("sid") as tree:
        with pytest.raises(Problem, match="still use"):
            bases_module.remove("sid")
        assert (tree / "content").exists()
    assert bases_module.names() == []
    bases_module.publish("sid", make_tree(bases, "two"))
    bases_module.remove("sid")
    assert not (bases / "sid").exists()


@pytest.mark.parametrize("name", ["nothing", "", "-x", "a b"])
def test_an_unknown_name_is_said_to_be_so(bases: Path, name: str) -> None:
    assert bases.exists()
    with pytest.raises(Problem):
        bases_module.find(name)


def test_run_discards_or_saves(base_of: Callable[..., Base]) -> None:
    """As a plain user, whose bases can be put into a directory of the test's."""
    base = base_of("user")
    person = base.owner
    home = Path(subprocess.check_output([*person.before, "mktemp", "-d"], text=True).strip())
    named = home / "cowfs/bases/sid"

    def cowbuild(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **person.environment, "XDG_DATA_HOME": str(home), "TMPDIR": str(home)}
        return subprocess.run(
            [*person.before, *COWBUILD, *words], env=environment, capture_output=True, text=True, check=False
        )

    try:
        home.chmod(0o755)
        subprocess.run([*person.before, "mkdir", "-p", named], check=True)
        subprocess.run(["cp", "-a", base.path, named / "tree.1"], check=True)
        subprocess.run(["ln", "-s", "tree.1", named / "current"], check=True)
        listed = cowbuild("list")
        assert listed.stdout.startswith("sid ")
        # As bases were made before: open to others. It is said once which directories were, and are no more.
        closed = [line.split()[3] for line in listed.stderr.splitlines()]
        assert closed == [str(named.parent), str(named)], listed.stderr
        assert cowbuild("list").stderr == ""
        assert cowbuild("run", "sid", "--", "sh", "-c", "echo kept > /root/mark; exit 3").returncode == 3
        assert cowbuild("run", "sid", "--", "test", "-e", "/root/mark").returncode == 1
        assert cowbuild("run", "sid", "--as-builder", "--", "id", "-un").stdout == "cowbuild\n"
        make_setuid = "echo kept > /root/mark; cp /bin/bash /usr/bin/sb; chmod 4755 /usr/bin/sb"
        saved = cowbuild("run", "sid", "--save", "--", "sh", "-c", make_setuid)
        assert saved.returncode == 0, saved.stderr
        [tree] = named.glob("tree.*")
        assert (tree / "usr/bin/sb").stat().st_mode & stat.S_ISUID
        assert_closed_to_others(tree / "usr/bin/sb")
        assert stat.S_IMODE(tree.stat().st_mode) == 0o755
        assert cowbuild("run", "sid", "--", "cat", "/root/mark").stdout == "kept\n"
        assert cowbuild("run", "sid", "--", "grep", "-c", "cowbuild", "/etc/passwd").stdout == "1\n"
        assert len(list(named.glob("tree.*"))) == 1
        assert cowbuild("create", "sid").returncode == 1
        # The same tree at a path of the user's: open, closed, removed.
        free = home / "a tree"
        tree.rename(free)
        (named / "current").unlink()
        named.rmdir()
        show = ("run", str(free), "--as-builder", "--", "stat", "-c", "%a", "/")
        opened = cowbuild(*show)
        assert (opened.stdout, opened.stderr.count("others can enter the base")) == ("755\n", 1)
        free.chmod(0o700)
        shown = cowbuild(*show)
        assert (shown.stdout, shown.stderr) == ("755\n", "")
        assert_closed_to_others(free / "usr/bin/sb")
        removed = cowbuild("remove", f"{home}/../{home.name}/a tree")
        assert removed.returncode == 0, removed.stderr
        assert [path.name for path in home.iterdir()] == ["cowfs"]
    finally:
        subprocess.run(["rm", "-rf", home], check=True)


@pytest.fixture
def open_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that everybody may enter, and in which the user's own things are kept."""
    place = Path(tempfile.mkdtemp(prefix="cowbuild-test-", dir="/tmp"))
    place.chmod(0o755)
    for name in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(place / name.lower()))
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    shutil.rmtree(place)


def test_whatever_holds_trees_is_made_closed(open_place: Path) -> None:
    umask = os.umask(0)
    try:
        bases_module.publish("sid", make_tree(open_place, "one"))
        places = [
            bases_module.bases_directory(),
            bases_module.bases_directory() / "sid",
            dependency_layers.layers_directory(),
            kept_sessions.make_sessions_directory(),
        ]
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(path.stat().st_mode) for path in places] == [0o700] * 4
    assert_closed_to_others(bases_module.find("sid") / "content")


def test_what_was_open_is_closed_and_that_is_said(open_place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bases_module.publish("sid", make_tree(open_place, "one"))
    places = [
        bases_module.bases_directory(),
        bases_module.bases_directory() / "sid",
        dependency_layers.layers_directory(),
        kept_sessions.make_sessions_directory(),
    ]
    # One bit is enough; those that say something else than who may enter stay.
    for path, mode in zip(places, (0o755, 0o710, 0o3777, 0o701), strict=True):
        path.chmod(mode)
    assert cowbuild_here("sessions") == (0, "")
    told = capsys.readouterr().err.splitlines()
    assert [str(path) for path in places] == [line.split()[3] for line in told]
    assert [stat.S_IMODE(path.stat().st_mode) & 0o777 for path in places] == [0o700] * 4
    assert dependency_layers.layers_directory().stat().st_mode & stat.S_ISVTX
    assert cowbuild_here("cache", "list")[0] == 0
    assert capsys.readouterr().err == ""


@pytest.mark.root
def test_a_directory_of_somebody_else_is_no_place_for_trees(open_place: Path) -> None:
    bases_module.bases_directory().mkdir(parents=True)
    os.chown(bases_module.bases_directory(), OTHER, OTHER)
    with pytest.raises(Problem, match="belongs to another user"):
        bases_module.publish("sid", make_tree(open_place, "one"))


def cowbuild_here(*words: str) -> tuple[int, str]:
    """Run cowbuild in this process; exit code and what it printed on the standard output."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cowbuild", *words])
        code = main.main()
    return code, printed.getvalue().strip()


# What cowbuild asks of a base, in the place of mmdebstrap, which takes a minute.
MMDEBSTRAP = """#!/bin/sh -e
for word; do case $word in */base) tree=$word;; nothing) echo no such suite >&2; exit 1;; esac; done
mkdir -p "$tree/var/lib/dpkg" "$tree/usr"
printf 'Package: dpkg\\nArchitecture: all\\n\\n' > "$tree/var/lib/dpkg/status"
"""


@pytest.fixture
def quick(open_place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`quick(*words)`: cowbuild, in that place, with bases that are next to empty."""
    programs = open_place / "bin"
    programs.mkdir()
    (programs / "mmdebstrap").write_text(MMDEBSTRAP)
    (programs / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*COWBUILD, *map(str, words)]
        return subprocess.run(command, cwd=open_place, capture_output=True, text=True, check=False)

    return run


Quick = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.root
def test_a_base_at_a_path_is_closed_and_can_be_removed(open_place: Path, quick: Quick) -> None:
    written = f"../{open_place.name}/x"
    made = quick("create", written, "--suite", "sid")
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE((open_place / "x").stat().st_mode) == 0o700
    assert_closed_to_others(open_place / "x/usr")
    removed = quick("remove", written)
    assert (removed.returncode, removed.stderr) == (0, "")
    assert sorted(path.name for path in open_place.iterdir()) == ["bin"]


@pytest.mark.root
def test_what_is_not_to_be_removed_stays(open_place: Path, quick: Quick) -> None:
    for suite in ("tree.1", "current"):
        (open_place / "plain" / suite).mkdir(parents=True)
    assert quick("create", "./x", "--suite", "sid").returncode == 0
    (open_place / "link").symlink_to("x")
    assert "symbolic link" in quick("remove", "./link").stderr
    assert "is not a Debian base" in quick("remove", "./plain").stderr
    assert "is not a Debian base" in quick("remove", "./nothing").stderr
    for words in (("run", "./plain", "true"), ("shell", "./plain")):
        refused = quick(*words)
        assert "is not a Debian base" in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
    assert "cowbuild remove ./x" in quick("remove", "x").stderr
    assert "is a mount point" in quick("remove", "/").stderr
    with bases_module.base_in_use(str(open_place / "x")):
        assert "Sessions still use the base" in quick("remove", "./x").stderr
    (open_place / "x/srv").mkdir()
    mount = ("unshare", "--mount", "sh", "-ec", 'mount --bind bin x/srv; exec "$@"', "sh")
    done = subprocess.run(
        [*mount, *COWBUILD, "remove", "./x"], cwd=open_place, capture_output=True, text=True, check=False
    )
    assert "x/srv is a mount point" in done.stderr
    kept_sessions.make_sessions_directory()
    layer = open_place / "session/layer"
    layer.mkdir(parents=True)
    name = kept_sessions.keep(
        layer,
        layer.parent / "own",
        [],
        stem="s",
        package="p",
        base=open_place / "x",
        stage="build",
        made=0.0,
        build_directory="/",
    )
    assert f"cowbuild discard {name}" in quick("remove", "./x").stderr
    assert (open_place / "x/var/lib/dpkg/status").exists()
    assert (open_place / "plain/tree.1").exists()


@pytest.mark.root
def test_a_failed_create_leaves_nothing(open_place: Path, quick: Quick) -> None:
    for target in ("sid", "./x"):
        assert quick("create", target, "--suite", "nothing").returncode == 1
    assert sorted(path.name for path in open_place.iterdir()) == ["bin", "data"]
    assert list((open_place / "data").iterdir()) == []


def test_no_room_is_left_for_what_was_not_made_and_all_of_what_was(open_place: Path) -> None:
    with bases_module.room_for("one"):
        bases_module.publish("one", make_tree(open_place, "one"))
    with bases_module.room_for("two") as home:
        assert home.is_dir()
    assert [path.name for path in bases_module.bases_directory().iterdir()] == ["one"]


@pytest.mark.root
def test_what_a_killed_cowbuild_left_does_not_keep_a_base(quick: Quick) -> None:
    assert quick("create", "one", "--suite", "sid").returncode == 0
    abandoned = bases_module.bases_directory() / "one/cowbuild-killed"
    abandoned.mkdir()
    (abandoned / "lock").touch()
    removed = quick("remove", "one")
    assert (removed.returncode, removed.stderr) == (0, "")
    assert bases_module.names() == []
    assert not (bases_module.bases_directory() / "one").exists()


def test_a_base_that_was_in_use_can_be_removed_when_it_is_no_more(bases: Path) -> None:
    bases_module.publish("sid", make_tree(bases, "one"))
    with bases_module.base_in_use("sid"), pytest.raises(Problem, match="still use"):
        bases_module.remove("sid")
    bases_module.remove("sid")
    assert not (bases / "sid").exists()


def test_what_else_keeps_the_directory_of_a_base_is_named(bases: Path) -> None:
    bases_module.publish("sid", make_tree(bases, "one"))
    (bases / "sid/notes").touch()
    with pytest.raises(Problem, match="notes"):
        bases_module.remove("sid")
    assert [path.name for path in (bases / "sid").iterdir()] == ["notes"]
