"""`cowfs diff`: every change of a layer is told, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cowfs.daemon.mount_table import layer_of
from cowfs.layer.view import open_views
from cowfs.tools.diff import Change, Kind, find_changes
from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.snapshot import Node, Snapshot, snapshot
from tests.harness.trees import directory, file, link_to, make_tree, symlink, whiteout
from tests.harness.users import in_child
from tests.tools.command import cowfs_forked as cowfs
from tests.tools.sessions import BASE, Session


def _changes(place: Path) -> list[Change]:
    """In a process of its own, which gives its locks back."""

    def find() -> list[Change]:
        layer, mounted = layer_of(place)
        with open_views(layer, mounted=mounted) as views:
            return find_changes(views)

    return in_child(find)


def _differs(before: Node, after: Node) -> tuple[str, ...]:
    if before.kind != after.kind:
        return ("type",)
    same = {
        "content": (before.content, before.rdev) == (after.content, after.rdev),
        "mode": before.mode == after.mode,
        "owner": (before.uid, before.gid) == (after.uid, after.gid),
        "times": before.kind == "directory" or before.mtime == after.mtime,
        "xattrs": before.xattrs == after.xattrs,
    }
    return tuple(name for name, is_same in same.items() if not is_same)


def _explain(before: Snapshot, after: Snapshot, changes: list[Change]) -> None:
    """The changes lead from one tree to the other: each entry comes from one place or is new, and differs as told."""
    deleted = [change.path for change in changes if change.kind is Kind.DELETED]
    told = {change.path: change for change in changes if change.kind is not Kind.DELETED}
    assert len(deleted) + len(told) == len(changes), "an entry is told twice"
    sources: dict[bytes, bytes | None] = {b".": b"."}
    for path in sorted(after):
        change = told.pop(path, None)
        if path == b".":
            source: bytes | None = b"."
        elif change is not None and change.kind is Kind.ADDED:
            source = None
        elif change is not None and change.source is not None:
            source = change.source
        else:
            parent = sources[os.path.dirname(path) or b"."]
            assert parent is not None, f"{path!r} is new, but is not told"
            source = os.path.normpath(os.path.join(parent, os.path.basename(path)))
        sources[path] = source
        if source is not None:
            assert source in before, f"{path!r} is said to come from {source!r}"
            assert (change.differs if change else ()) == _differs(before[source], after[path]), path
        if change is not None and after[path].kind in ("file", "symlink"):
            assert change.size_after == after[path].size, path
    assert told == {}, "these are told, but are not there"
    used = [source for source in sources.values() if source is not None]
    assert sorted([*used, *deleted]) == sorted(before)


@pytest.mark.root
@pytest.mark.parametrize("seed", range(10))
def test_a_random_session_is_explained_mounted_and_afterwards(workbench: Workbench, seed: int) -> None:
    mount = workbench.mount(workbench.base(BASE))
    before = snapshot(str(workbench.place / "base"))
    Session(mount.path, seed).run(60)
    after = snapshot(mount.path)
    live = _changes(mount.point)
    _explain(before, after, live)
    mount.stop()
    assert mount.layer is not None
    assert _changes(mount.layer) == live


@pytest.mark.root
def test_over_several_layers_the_changes_of_the_topmost_are_told(workbench: Workbench) -> None:
    lowest = workbench.base(BASE)
    first = workbench.mount(lowest, layer=workbench.place / "first")
    Session(first.path, 100).run(80)
    before = snapshot(first.path)
    first.stop()
    second = workbench.mount(workbench.place / "first", lowest, layer=workbench.place / "second", name="over")
    Session(second.path, 101).run(80)
    after = snapshot(second.path)
    second.stop()
    changes = _changes(workbench.place / "second")
    assert changes
    _explain(before, after, changes)


@pytest.mark.root
def test_each_kind_of_change_reads_as_what_it_is(workbench: Workbench) -> None:
    base = workbench.base(
        {
            "changed": file(b"12345"),
            "mode": file(b"x", mode=0o644),
            "gone/inside": file(b"123"),
            "directory/stays": file(b"x"),
            "directory/grows": file(b"x"),
            "becomes": file(b"x"),
            "moved": file(b"moved"),
            "one": file(b"one"),
            "other": link_to("one"),
        }
    )
    mount = workbench.mount(base)
    root = mount.point
    (root / "changed").write_bytes(b"123456789")
    (root / "mode").chmod(0o600)
    (root / "gone/inside").unlink()
    (root / "gone").rmdir()
    (root / "directory").rename(root / "renamed")
    (root / "renamed/grows").write_bytes(b"more")
    (root / "becomes").unlink()
    (root / "becomes").mkdir()
    (root / "moved").rename(root / "renamed/there")
    (root / "new\n\\").write_bytes(b"1234")
    os.link(root / "new\n\\", root / "second")
    (root / "one").write_bytes(b"both")
    done = cowfs("diff", "--name-status", mount.point)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "M\tbecomes",
        "M\tchanged",
        "D\tgone",
        "D\tgone/inside",
        "P\tmode",
        "A\tnew\\012\\134",
        "M\tone",
        "M\tother",
        "R\tdirectory\trenamed",
        "M\trenamed/grows",
        "R\tmoved\trenamed/there",
        "A\tsecond",
    ]
    assert "A           -  second = new\\012\\134\n" in cowfs("diff", mount.point).stdout
    assert "M        +4 B  changed (content, times)\n" in cowfs("diff", mount.point).stdout
    assert "deleted          2          -3 B\n" in cowfs("diff", "--stat", mount.point).stdout
    found = {entry["path"]: entry for entry in json.loads(cowfs("diff", "--json", mount.point).stdout)}
    assert found["changed"]["size_before"] == 5
    assert found["changed"]["size_after"] == 9
    assert found["second"]["link"] == "new\n\\"
    assert found["renamed"]["source"] == "directory"


@pytest.mark.root
def test_a_session_that_changed_nothing_has_no_changes(workbench: Workbench) -> None:
    mount = workbench.mount(workbench.base(BASE))
    (mount.point / "a").chmod(0o755)
    (mount.point / "a").chmod(0o4755)
    (mount.point / "b").rename(mount.point / "elsewhere")
    (mount.point / "elsewhere").rename(mount.point / "b")
    assert cowfs("diff", mount.point).stdout == ""


@pytest.mark.root
def test_a_hostile_layer_is_read_without_leaving_it(workbench: Workbench) -> None:
    secret = workbench.place / "secret"
    secret.mkdir()
    (secret / "canary").write_bytes(b"not to be seen")
    mount = workbench.mount(workbench.base({"a/b": file(b"x"), "c": file(b"y")}))
    mount.stop()
    assert mount.layer is not None
    make_tree(
        str(mount.layer / "upper"),
        {
            "way-out": symlink(str(secret)),
            "up": directory(xattrs={"trusted.overlay.redirect": b"/../../secret"}),
            "first": directory(xattrs={"trusted.overlay.redirect": b"/a"}),
            "second": directory(xattrs={"trusted.overlay.redirect": b"/a"}),
            "forged": file(b"x", xattrs={"trusted.overlay.cowfs.origin": b"0-1"}),
            "nothing": whiteout(),
        },
    )
    done = cowfs("diff", "--name-status", mount.layer)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "A\tway-out" in done.stdout
    assert "canary" not in done.stdout
    actions.create(os.fsencode(mount.layer / "upper/metacopy"))
    os.setxattr(mount.layer / "upper/metacopy", "trusted.overlay.metacopy", b"")
    done = cowfs("diff", mount.layer)
    assert done.returncode == 1
    assert "metacopy" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.root
def test_what_cannot_be_compared_is_named(workbench: Workbench) -> None:
    base = workbench.base({"a": file(b"x")})
    mount = workbench.mount(base)
    mount.stop()
    assert mount.layer is not None
    for place, words in (
        (base, "neither a layer"),
        (workbench.place / "missing", "neither a layer"),
        (workbench.place, "neither a layer"),
    ):
        done = cowfs("diff", place)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
    workbench.bases.clear()  # a directory that is renamed has another ctime
    base.rename(workbench.place / "away")
    done = cowfs("diff", mount.layer)
    assert done.returncode == 1
    assert f"The base {base} does not exist" in done.stderr
