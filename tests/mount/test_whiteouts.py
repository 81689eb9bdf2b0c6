"""Names removed and made again over a base, in one and in several layers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.snapshot import snapshot
from tests.harness.trees import directory, file, link_to, symlink, whiteout
from tests.harness.trial import Trial

BASE = {
    "file": file(b"file"),
    "d/a": file(b"a"),
    "d/b": file(b"b"),
    "d/sub/c": file(b"c"),
    "d/sub/deep/e": file(b"e"),
    "link": symlink("d"),
    "empty": directory(0o750, uid=3, gid=4),
}


def _remove_tree(path: bytes) -> None:
    for directory_path, directories, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(directory_path, name))
        for name in directories:
            os.rmdir(os.path.join(directory_path, name))
    os.rmdir(path)


def test_a_removed_file_is_gone_and_can_be_made_again(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("unlink", os.unlink, trial.path("file"))
        trial.attempt("unlink again", os.unlink, trial.path("file"))
        trial.attempt("stat", os.stat, trial.path("file"))
        trial.attempt("list", lambda: sorted(os.listdir(trial.path())))
        trial.attempt("create", actions.create, trial.path("file"), b"new")
        trial.attempt("read", actions.read, trial.path("file"))
        trial.attempt("unlink the new", os.unlink, trial.path("file"))
        trial.attempt("mkdir", os.mkdir, trial.path("file"))
        trial.attempt("list the directory", os.listdir, trial.path("file"))
        trial.attempt("rmdir", os.rmdir, trial.path("file"))
        trial.attempt("symlink", os.symlink, "target", trial.path("file"))
        trial.attempt("unlink the symlink", os.unlink, trial.path("file"))
        trial.attempt("link", os.link, trial.path("d/a"), trial.path("file"))

    bench.compare(BASE, operations)


def test_a_removed_directory_made_again_is_empty(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("rmdir full", os.rmdir, trial.path("d"))
        _remove_tree(trial.path("d"))
        trial.attempt("stat", os.stat, trial.path("d"))
        trial.attempt("mkdir", os.mkdir, trial.path("d"))
        trial.attempt("list", os.listdir, trial.path("d"))
        trial.attempt("old content", os.stat, trial.path("d/a"))
        trial.attempt("mkdir sub", os.mkdir, trial.path("d/sub"))
        trial.attempt("list sub", os.listdir, trial.path("d/sub"))
        trial.attempt("create", actions.create, trial.path("d/sub/c"), b"new c")
        trial.attempt("file for a directory", os.rmdir, trial.path("empty"))
        trial.attempt("create instead", actions.create, trial.path("empty"), b"file")

    mount = bench.compare(BASE, operations)
    assert sorted(os.listdir(mount.path + b"/d")) == [b"sub"]


def test_rmdir_of_a_directory_that_holds_only_whiteouts(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for name in ("deep/e", "c"):
            trial.attempt(f"unlink {name}", os.unlink, trial.path(f"d/sub/{name}"))
        trial.attempt("rmdir deep", os.rmdir, trial.path("d/sub/deep"))
        trial.attempt("rmdir", os.rmdir, trial.path("d/sub"))
        trial.attempt("again", os.rmdir, trial.path("d/sub"))
        trial.attempt("list", lambda: sorted(os.listdir(trial.path("d"))))

    bench.compare(BASE, operations)


def test_rmdir_and_unlink_of_the_wrong_kind(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("rmdir a file", os.rmdir, trial.path("file"))
        trial.attempt("rmdir a link", os.rmdir, trial.path("link"))
        trial.attempt("unlink a directory", os.unlink, trial.path("d"))
        trial.attempt("rmdir dot", os.rmdir, trial.path("d/."))
        trial.attempt("rmdir dotdot", os.rmdir, trial.path("d/sub/.."))
        trial.attempt("unlink with slash", os.unlink, trial.path("file/"))
        trial.attempt("mkdir existing", os.mkdir, trial.path("d"))
        trial.attempt("mkdir existing file", os.mkdir, trial.path("file"))
        trial.attempt("mkdir existing link", os.mkdir, trial.path("link"))
        trial.attempt("mkdir below a file", os.mkdir, trial.path("file/x"))
        trial.attempt("symlink existing", os.symlink, "x", trial.path("file"))
        trial.attempt("link existing", os.link, trial.path("d/a"), trial.path("file"))
        trial.attempt("mkfifo existing", os.mkfifo, trial.path("file"))
        trial.attempt("through the link", lambda: sorted(os.listdir(trial.path("link/"))))

    bench.compare(BASE, operations)


@pytest.mark.parametrize("turns", [1, 3])
def test_trees_made_and_removed_many_times(bench: Workbench, turns: int) -> None:
    def operations(trial: Trial) -> None:
        for turn in range(turns):
            _remove_tree(trial.path("d"))
            os.mkdir(trial.path("d"))
            for name in ("sub", "sub/deep"):
                os.mkdir(trial.path(f"d/{name}"))
                actions.create(trial.path(f"d/{name}/file{turn}"), b"%d" % turn)
            os.rename(trial.path("d/sub"), trial.path("d/moved"))
            os.mkdir(trial.path("d/sub"))

    bench.compare(BASE, operations)


@pytest.mark.root
def test_whiteouts_and_opaque_directories_of_a_middle_layer(bench: Workbench) -> None:
    lowest = bench.base(BASE, "lowest")
    middle = bench.base(
        {
            "file": whiteout(),
            "d/a": whiteout(),
            "d/new": file(b"new"),
            "d/sub": directory(xattrs={"trusted.overlay.opaque": b"y"}),
            "d/sub/only": file(b"only"),
            "empty": whiteout(),
        },
        "middle",
    )
    top = bench.base({"file": file(b"top"), "empty": directory(), "d/sub/deep/e2": file(b"e2")}, "top")
    mount = bench.mount(top, middle, lowest)
    names = {name.decode() for name in snapshot(mount.path)}
    assert names == {
        ".", "file", "d", "d/b", "d/new", "d/sub", "d/sub/only", "d/sub/deep", "d/sub/deep/e2", "link", "empty",
    }  # fmt: skip
    assert actions.read(mount.path + b"/file") == b"top"
    os.unlink(mount.path + b"/file")
    os.mkdir(mount.path + b"/d/a")
    assert os.listdir(mount.path + b"/d/a") == []
    _remove_tree(mount.path + b"/d")
    os.mkdir(mount.path + b"/d")
    mount.remount()
    assert sorted(os.listdir(mount.path)) == [b"d", b"empty", b"link"]
    assert os.listdir(mount.path + b"/d") == []


@pytest.mark.root
def test_directories_are_the_topmost_layers_in_everything_but_their_names(bench: Workbench) -> None:
    lower = bench.base({"d": directory(0o700, uid=5, xattrs={"user.from": b"lower"}), "d/low": file()}, "lower")
    upper = bench.base({"d": directory(0o755, uid=6, xattrs={"user.from": b"upper"}), "d/up": file()}, "upper")
    mount = bench.mount(upper, lower)
    status = os.stat(mount.path + b"/d")
    assert (status.st_uid, status.st_mode & 0o777) == (6, 0o755)
    assert os.getxattr(mount.path + b"/d", "user.from") == b"upper"
    assert sorted(os.listdir(mount.path + b"/d")) == [b"low", b"up"]


@pytest.mark.root
def test_a_file_above_a_directory_hides_it_and_the_other_way_round(bench: Workbench) -> None:
    lowest = bench.base({"x/low": file(), "y": file(b"low")}, "lowest")
    middle = bench.base({"x": file(b"file"), "y/mid": file()}, "middle")
    top = bench.base({"x/top": file(), "y": file(b"top")}, "top")
    mount = bench.mount(top, middle, lowest)
    assert os.listdir(mount.path + b"/x") == [b"top"]
    assert actions.read(mount.path + b"/y") == b"top"
    os.unlink(mount.path + b"/y")
    assert os.listdir(mount.path) == [b"x"]


@pytest.mark.root
def test_no_whiteout_is_visible_and_none_can_be_made(bench: Workbench) -> None:
    lower = bench.base({"hidden": file(), "shown": file()}, "lower")
    upper = bench.base({"hidden": whiteout(), "stray": whiteout()}, "upper")
    mount = bench.mount(upper, lower)
    assert os.listdir(mount.path) == [b"shown"]
    assert actions.error_of(lambda: os.stat(mount.path + b"/stray")) == "ENOENT"
    os.unlink(mount.path + b"/shown")
    assert os.listdir(mount.path) == []
    device = mount.path + b"/made"
    assert actions.error_of(lambda: os.mknod(device, 0o20600, os.makedev(0, 0))) in ("EPERM", "EINVAL")
    assert actions.error_of(lambda: os.lstat(device)) == "ENOENT"


@pytest.mark.root
def test_a_whiteout_inside_an_opaque_directory_is_harmless(bench: Workbench) -> None:
    lower = bench.base({"d/a": file(), "d/b": file()}, "lower")
    upper = bench.base(
        {"d": directory(xattrs={"trusted.overlay.opaque": b"y"}), "d/a": whiteout(), "d/c": file()}, "upper"
    )
    mount = bench.mount(upper, lower)
    assert os.listdir(mount.path + b"/d") == [b"c"]
    os.unlink(mount.path + b"/d/c")
    os.rmdir(mount.path + b"/d")
    assert os.listdir(mount.path) == []


@pytest.mark.root
def test_a_layer_with_nothing_above_keeps_no_useless_whiteouts(bench: Workbench) -> None:
    """Removing what only the layer ever had leaves nothing behind in it."""
    mount = bench.mounted(BASE)
    layer = mount.layer
    assert isinstance(layer, Path)
    actions.create(mount.path + b"/own")
    os.mkdir(mount.path + b"/own-directory")
    actions.create(mount.path + b"/own-directory/file")
    os.unlink(mount.path + b"/own")
    os.unlink(mount.path + b"/own-directory/file")
    os.rmdir(mount.path + b"/own-directory")
    assert os.listdir(layer / "upper") == []


def test_hard_links_removed_and_made_again(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("unlink", os.unlink, trial.path("one"))
        trial.attempt("link back", os.link, trial.path("two"), trial.path("one"))
        trial.attempt("write", actions.append, trial.path("one"), b"!")
        trial.attempt("unlink one", os.unlink, trial.path("one"))
        trial.attempt("unlink two", os.unlink, trial.path("two"))
        trial.attempt("create", actions.create, trial.path("two"), b"fresh")
        trial.attempt("describe", actions.describe, trial.path("two"))

    bench.compare({"one": file(b"linked"), "two": link_to("one")}, operations)
