"""A layer is an overlayfs upper directory: the kernel shows the tree that cowfs showed, and the other way round."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount
from tests.harness.snapshot import Snapshot, differences, snapshot, without
from tests.harness.trees import character_device, directory, fifo, file, link_to, make_tree, symlink
from tests.harness.users import in_child

pytestmark = pytest.mark.root

BASE = {
    "file": file(b"file"),
    "changed": file(b"changed" * 1000, mode=0o4755),
    "d/a": file(b"a"),
    "d/b": file(b"b"),
    "d/sub/deep/leaf": file(b"leaf"),
    "renamed/inside": file(b"inside"),
    "renamed/sub/below": file(b"below"),
    "removed/x": file(b"x"),
    "remade/old": file(b"old"),
    "exchanged/one": file(b"1"),
    "other/two": file(b"2"),
    "symlink": symlink("file"),
    "fifo": fifo(),
    "attributes": file(b"x", xattrs={"user.a": b"1"}),
    "linked": file(b"linked"),
    "linked-too": link_to("linked"),
    "empty": directory(),
}


def change_everything(top: bytes) -> None:
    """One of each change that leaves a different mark in a layer."""
    os.unlink(top + b"/file")
    actions.append(top + b"/changed", b"!")
    os.unlink(top + b"/d/a")
    os.chmod(top + b"/d/sub/deep/leaf", 0o600)
    os.rename(top + b"/renamed", top + b"/new-name")
    actions.create(top + b"/new-name/added", b"added")
    os.rename(top + b"/new-name/sub", top + b"/d/sub-moved")
    os.unlink(top + b"/removed/x")
    os.rmdir(top + b"/removed")
    os.unlink(top + b"/remade/old")
    os.rmdir(top + b"/remade")
    os.mkdir(top + b"/remade")
    actions.create(top + b"/remade/new", b"new")
    syscalls.rename(top + b"/exchanged", top + b"/other", syscalls.RENAME_EXCHANGE)
    os.chown(top + b"/symlink", 7, 7, follow_symlinks=False)
    os.chmod(top + b"/fifo", 0o600)
    os.setxattr(top + b"/attributes", "user.b", b"2")
    os.mkdir(top + b"/made")
    os.mkfifo(top + b"/made/fifo")
    os.symlink(b"x", top + b"/made/symlink")
    os.rename(top + b"/empty", top + b"/made/empty")
    actions.create(top + b"/own", b"own")
    os.link(top + b"/own", top + b"/made/own")


def _overlay(lower: Path, layer: Path, point: Path, options: str) -> None:
    point.mkdir(exist_ok=True)
    (layer / "work").mkdir(exist_ok=True)
    data = f"lowerdir={lower},upperdir={layer}/upper,workdir={layer}/work-of-overlay{options}"
    (layer / "work-of-overlay").mkdir(exist_ok=True)
    syscalls.mount("overlay", str(point), "overlay", 0, data)


def _comparable(tree: Snapshot) -> Snapshot:
    """Without link counts: overlayfs breaks hard links of the base, and counts links only with its index."""
    return without(tree, "nlink", "links")


def test_overlayfs_shows_what_cowfs_made(bench: Workbench) -> None:
    base = bench.base(BASE)
    mount = bench.mount(base)
    assert mount.layer is not None
    change_everything(mount.path)
    expected = snapshot(mount.path)
    mount.stop()
    point = bench.place / "overlay"
    _overlay(base, mount.layer, point, ",redirect_dir=on,index=off,metacopy=off")
    try:
        shown = snapshot(str(point))
    finally:
        syscalls.umount(str(point))
    mount.start()
    lines = differences(_comparable(expected), _comparable(shown))
    assert not lines, "cowfs -> overlayfs\n" + "\n".join(lines)
    lines = differences(expected, snapshot(mount.path))
    assert not lines, "before overlayfs had it -> after\n" + "\n".join(lines)


@pytest.mark.parametrize("options", ["redirect_dir=on,index=off", "redirect_dir=on,index=on"])
def test_cowfs_shows_what_overlayfs_made(bench: Workbench, options: str) -> None:
    base = bench.base(BASE)
    bench.watch(base)
    layer = bench.place / "layer"
    (layer / "upper").mkdir(parents=True)
    point = bench.place / "overlay"
    _overlay(base, layer, point, "," + options)
    try:
        change_everything(os.fsencode(point))
        expected = snapshot(str(point))
    finally:
        syscalls.umount(str(point))
    mount = bench.mount(base, start=False)
    mount.layer = None
    work = layer / "work"
    mount.options = ["-o", f"allow_other,upperdir={layer}/upper,workdir={work}"]
    mount.start()
    lines = differences(_comparable(expected), _comparable(snapshot(mount.path)))
    assert not lines, "overlayfs -> cowfs\n" + "\n".join(lines)
    actions.append(mount.path + b"/changed", b"!")
    actions.append(mount.path + b"/new-name/inside", b"!")
    after = snapshot(mount.path)
    mount.remount()
    assert differences(after, snapshot(mount.path)) == []


def test_stacked_lower_layers_made_by_overlayfs(bench: Workbench) -> None:
    """An overlayfs upper directory used as a read-only layer: whiteouts, opaque directories and redirects all count."""
    base = bench.base(BASE)
    bench.watch(base)
    layer = bench.place / "layer"
    (layer / "upper").mkdir(parents=True)
    point = bench.place / "overlay"
    _overlay(base, layer, point, ",redirect_dir=on,index=off")
    try:
        change_everything(os.fsencode(point))
        expected = snapshot(str(point))
    finally:
        syscalls.umount(str(point))
    mount = bench.mount(layer / "upper", base)
    lines = differences(_comparable(expected), _comparable(snapshot(mount.path)))
    assert not lines, "overlayfs -> cowfs\n" + "\n".join(lines)


def test_overlayfs_and_cowfs_take_turns_on_one_layer(bench: Workbench) -> None:
    base = bench.base(BASE)
    mount = bench.mount(base)
    assert mount.layer is not None
    point = bench.place / "overlay"
    for turn in range(3):
        actions.create(mount.path + b"/cowfs%d" % turn, b"cowfs")
        os.rename(mount.path + b"/d", mount.path + b"/d-moved")
        mount.stop()
        _overlay(base, mount.layer, point, ",redirect_dir=on,index=off")
        try:
            top = os.fsencode(point)
            actions.create(top + b"/overlay%d" % turn, b"overlay")
            os.rename(top + b"/d-moved", top + b"/d")
            actions.append(top + b"/d/sub/deep/leaf", b"%d" % turn)
            expected = snapshot(str(point))
        finally:
            syscalls.umount(str(point))
        mount.start()
        lines = differences(_comparable(expected), _comparable(snapshot(mount.path)))
        assert not lines, "overlayfs -> cowfs\n" + "\n".join(lines)


def _in_user_namespace(function: Callable[[], None]) -> None:
    """Run `function` as the root of a user namespace whose only user is, outside, a plain one."""

    def enter() -> None:
        user = 1234
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
        syscalls.make_dumpable()
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {user} 1")
        function()

    in_child(enter)


ROOTLESS_BASE = {name: entry for name, entry in BASE.items() if name != "fifo"}


def _change_rootless(top: bytes) -> None:
    os.unlink(top + b"/file")
    actions.append(top + b"/changed", b"!")
    os.unlink(top + b"/d/a")
    os.unlink(top + b"/remade/old")
    os.rmdir(top + b"/remade")
    os.mkdir(top + b"/remade")
    actions.create(top + b"/remade/new", b"new")
    os.setxattr(top + b"/attributes", "user.b", b"2")
    os.mkdir(top + b"/made")
    actions.create(top + b"/made/file", b"x")


@pytest.mark.usefixtures("fuse_for_everybody", "plain_users_namespaces")
@pytest.mark.parametrize("direction", ["cowfs first", "overlayfs first"])
def test_rootless_layers_use_the_user_namespaces_marks(place: Path, engine: str, direction: str) -> None:
    """Kernel overlayfs with userxattr over the layer of a cowfs that ran in the same user namespace, and back.

    overlayfs follows no redirects there, so none are made here.
    """
    work = place / "work"
    work.mkdir()
    os.chown(work, 1234, 1234)

    def both() -> None:
        base, layer, point, overlay = (work / name for name in ("base", "layer", "mnt", "overlay"))
        make_tree(str(base), ROOTLESS_BASE)
        point.mkdir()
        before = snapshot(str(base), exact=True)
        mount = Mount(str(base), point, layer, engine, work / "log", options=())
        if direction == "cowfs first":
            mount.start()
            try:
                _change_rootless(mount.path)
                expected = snapshot(mount.path)
            finally:
                mount.end()
            _overlay(base, layer, overlay, ",userxattr")
            shown = snapshot(str(overlay))
        else:
            (layer / "upper").mkdir(parents=True)
            _overlay(base, layer, overlay, ",userxattr")
            _change_rootless(os.fsencode(overlay))
            expected = snapshot(str(overlay))
            syscalls.umount(str(overlay))
            mount.layer = None
            mount.options = ["-o", f"userxattr,upperdir={layer}/upper,workdir={layer}/work"]
            mount.start()
            try:
                shown = snapshot(mount.path)
            finally:
                mount.end()
        lines = differences(_comparable(expected), _comparable(shown))
        assert not lines, "first -> second\n" + "\n".join(lines)
        assert differences(before, snapshot(str(base), exact=True)) == []

    _in_user_namespace(both)


@pytest.mark.usefixtures("fuse_for_everybody", "plain_users_namespaces")
def test_a_directory_renamed_rootless_stays_renamed(place: Path, engine: str) -> None:
    """Without trusted marks too a base directory can be renamed, written and seen again in a later mount."""
    work = place / "work"
    work.mkdir()
    os.chown(work, 1234, 1234)

    def rename() -> None:
        base, point = work / "base", work / "mnt"
        make_tree(str(base), ROOTLESS_BASE)
        point.mkdir()
        mount = Mount(str(base), point, work / "layer", engine, work / "log", options=())
        mount.start()
        try:
            os.rename(mount.path + b"/d", mount.path + b"/moved")
            actions.append(mount.path + b"/moved/sub/deep/leaf", b"!")
            expected = snapshot(mount.path)
            mount.remount()
            assert differences(expected, snapshot(mount.path)) == []
        finally:
            mount.end()

    _in_user_namespace(rename)


def test_a_device_0_0_of_the_base_is_a_whiteout_only_where_it_hides_something(bench: Workbench) -> None:
    """The lowest layer of an overlay shows no whiteouts either."""
    base = bench.base({"mark": character_device(0, 0, 0), "file": file()})
    mount = bench.mount(base)
    point = bench.place / "overlay"
    (bench.place / "o/upper").mkdir(parents=True)
    _overlay(base, bench.place / "o", point, "")
    try:
        assert sorted(os.listdir(mount.path)) == sorted(os.listdir(os.fsencode(point)))
    finally:
        syscalls.umount(str(point))


def test_nested_use(bench: Workbench) -> None:
    """A cowfs over a cowfs, a cowfs over overlayfs, overlayfs over a cowfs."""
    base = bench.base(BASE)
    inner = bench.mount(base, name="inner")
    change_everything(inner.path)
    expected = snapshot(inner.path)
    outer = bench.mount(inner.point, name="outer")
    bench.bases.pop(inner.point)
    assert differences(_comparable(expected), _comparable(snapshot(outer.path))) == []
    actions.append(outer.path + b"/changed", b"?")
    os.rename(outer.path + b"/new-name", outer.path + b"/newer-name")
    assert differences(expected, snapshot(inner.path)) == []
    point, layer = bench.place / "overlay", bench.place / "o"
    (layer / "upper").mkdir(parents=True)
    _overlay(inner.point, layer, point, ",redirect_dir=on")
    try:
        actions.append(os.fsencode(point / "changed"), b"?")
        third = bench.mount(point, name="third")
        bench.bases.pop(point)
        actions.append(third.path + b"/changed", b"?")
        os.rename(third.path + b"/d", third.path + b"/d2")
        third.stop()
        assert actions.read(os.fsencode(point / "changed")) == b"changed" * 1000 + b"!?"
    finally:
        syscalls.umount(str(point))
    outer.stop()


@pytest.mark.parametrize("outside", ["cowfs", "overlayfs"])
def test_a_layer_that_lies_on_a_union(bench: Workbench, outside: str) -> None:
    """The layer of one cowfs lies on another, or on overlayfs: every mark must get through, and be hidden outside."""
    base = bench.base(BASE)
    lower = bench.base(BASE, "lower")
    point = bench.place / "outer"
    if outside == "cowfs":
        bench.mount(base, name="outer")
    else:
        (bench.place / "o/upper").mkdir(parents=True)
        _overlay(base, bench.place / "o", point, "")
    try:
        inner = bench.mount(lower, layer=point / "layer", name="inner")
        change_everything(inner.path)
        expected = snapshot(inner.path)
        inner.remount()
        assert differences(expected, snapshot(inner.path)) == []
        inner.stop()
        if outside == "cowfs":
            bench.mounts[0].remount()
        inner.start()
        assert differences(expected, snapshot(inner.path)) == []
        inner.stop()
    finally:
        if outside == "overlayfs":
            syscalls.umount(str(point), syscalls.MNT_DETACH)


def test_metacopies_of_overlayfs_never_show_wrong_data(bench: Workbench) -> None:
    """A file of which a layer holds only the metadata (overlayfs, metacopy=on) cannot be read here: EIO, no zeros."""
    base = bench.base(BASE)
    bench.watch(base)
    layer, point = bench.place / "layer", bench.place / "overlay"
    (layer / "upper").mkdir(parents=True)
    _overlay(base, layer, point, ",metacopy=on,redirect_dir=on")
    try:
        os.chmod(point / "changed", 0o600)
        os.rename(point / "file", point / "moved")
    finally:
        syscalls.umount(str(point))
    mount = bench.mount(base, start=False)
    mount.layer = None
    mount.options = ["-o", f"upperdir={layer}/upper,workdir={layer}/work"]
    mount.start()
    for name in (b"/changed", b"/moved"):
        assert actions.error_of(functools.partial(actions.read, mount.path + name)) == "EIO"
        assert actions.error_of(functools.partial(actions.append, mount.path + name, b"!")) == "EIO"
