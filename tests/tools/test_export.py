"""`cowfs export` and `cowfs import`: what other tools make of a layer is what the mount showed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.harness import syscalls
from tests.harness.bench import Workbench
from tests.harness.command import cowfs_command
from tests.harness.snapshot import Snapshot, differences, snapshot, without
from tests.harness.trees import Description, directory, file, make_tree, symlink
from tests.tools.command import cowfs_forked as cowfs
from tests.tools.sessions import BASE, Session


def _session(workbench: Workbench, seed: int, base: Description = BASE) -> tuple[Path, Path, Snapshot]:
    """Base, layer, and what the mount showed."""
    place = workbench.base(base)
    mount = workbench.mount(place)
    Session(mount.path, seed).run(60)
    (mount.point / "b").rename(mount.point / "renamed directory")
    shown = snapshot(mount.path)
    mount.stop()
    assert mount.layer is not None
    return place, mount.layer, shown


def _export(layer: Path, form: str, output: Path) -> Path:
    done = cowfs("export", layer, "--format", form, "--output", output)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return output


# A base without a "b" would make _session fail to rename: the seeds below keep it.
@pytest.mark.root
@pytest.mark.parametrize("seed", [41, 44])
def test_a_tar_is_the_whole_tree_and_the_same_each_time(workbench: Workbench, seed: int) -> None:
    _, layer, shown = _session(workbench, seed)
    exported = _export(layer, "tar", workbench.place / "tree.tar")
    tree = workbench.place / "tree"
    tree.mkdir()
    unpack = ["tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", str(exported), "-C", str(tree)]
    subprocess.run(unpack, check=True)
    assert differences(shown, snapshot(str(tree))) == []
    again = subprocess.run([*cowfs_command(), "export", str(layer)], capture_output=True, check=True)
    assert again.stdout == exported.read_bytes()


@pytest.mark.root
@pytest.mark.parametrize("seed", [41, 44])
def test_umoci_unpacks_an_oci_layer_to_what_the_mount_showed(workbench: Workbench, seed: int) -> None:
    base, layer, shown = _session(workbench, seed)
    exported = _export(layer, "oci", workbench.place / "layer.tar")
    assert _export(layer, "oci", workbench.place / "again.tar").read_bytes() == exported.read_bytes()
    below = workbench.place / "base.tar"
    pack = ["tar", "--atime-preserve=system", "--xattrs", "--xattrs-include=*", "--format=pax", "-cf", str(below)]
    subprocess.run([*pack, "-C", str(base), "."], check=True)
    image, bundle = workbench.place / "image", workbench.place / "bundle"
    for command in (
        ["init", f"--layout={image}"],
        ["new", f"--image={image}:t"],
        ["raw", "add-layer", f"--image={image}:t", str(below)],
        ["raw", "add-layer", f"--image={image}:t", str(exported)],
        ["unpack", f"--image={image}:t", str(bundle)],
    ):
        done = subprocess.run(["umoci", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert differences(_plain(shown), _plain(snapshot(str(bundle / "rootfs")))) == []


def _plain(tree: Snapshot) -> Snapshot:
    """Without what other tools do not keep: hard links to what did not change, and empty attributes (pax has none)."""
    kept = {name: node._replace(xattrs=tuple(pair for pair in node.xattrs if pair[1])) for name, node in tree.items()}
    return without(kept, "nlink", "links")


@pytest.mark.root
@pytest.mark.parametrize("seed", [41, 44])
def test_kernel_overlayfs_shows_an_exported_directory_as_the_mount_did(workbench: Workbench, seed: int) -> None:
    base, layer, shown = _session(workbench, seed)
    exported = _export(layer, "overlay", workbench.place / "exported")
    point = workbench.place / "overlay"
    point.mkdir()
    syscalls.mount("overlay", str(point), "overlay", data=f"lowerdir={exported}:{base}")
    try:
        assert differences(_plain(shown), _plain(snapshot(str(point)))) == []
    finally:
        syscalls.umount(str(point))


@pytest.mark.root
@pytest.mark.parametrize("form", ["oci", "overlay"])
@pytest.mark.parametrize("seed", [41, 44])
def test_what_was_exported_is_imported_as_it_was(workbench: Workbench, seed: int, form: str) -> None:
    base, layer, shown = _session(workbench, seed)
    exported = _export(layer, form, workbench.place / "exported")
    done = cowfs("import", exported, workbench.place / "imported", "--base", base)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    mount = workbench.mount(base, layer=workbench.place / "imported", name="again")
    found = snapshot(mount.path)
    assert differences(without(shown, "nlink", "links"), without(found, "nlink", "links")) == []


def _member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    for field, value in fields.items():
        setattr(member, field, value)
    return member


def _archive(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


HOSTILE = {
    "parent": [_member("../canary", size=5)],
    "deeper parent": [_member("d/../../canary", size=5)],
    "absolute": [_member("/tmp/cowfs-test-canary", size=5)],
    "through a link": [_member("out", tarfile.SYMTYPE, linkname=".."), _member("out/canary", size=5)],
    "through a link of the base": [_member("away/canary", size=5)],
    "hard link out": [_member("link", tarfile.LNKTYPE, linkname="../canary")],
    "hard link through a link": [_member("link", tarfile.LNKTYPE, linkname="away/canary")],
    "whiteout out": [_member("d/.wh...", size=0)],
    "whiteout of itself": [_member("d/.wh..", size=0)],
    "a whiteout device": [_member("null", tarfile.CHRTYPE, devmajor=0, devminor=0)],
    "odd time": [_member("file", pax_headers={"mtime": "never"})],
    "odd name": [_member("file", pax_headers={"path": "a\0b"})],
    "odd owner": [_member("file", pax_headers={"uid": str(1 << 40)})],
    "odd type": [_member("file", b"Z", size=5)],
}


@pytest.mark.root
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_touches_nothing_and_leaves_nothing(workbench: Workbench, what: str) -> None:
    place = workbench.place
    outside = place / "outside"
    make_tree(str(outside), {"canary": file(b"safe")})
    base = workbench.base({"d/e": file(b"x"), "away": symlink(str(outside)), "gone": directory()})
    (place / "canary").write_bytes(b"safe")
    workbench.watch(base)
    workbench.watch(outside)
    archive = _archive(place / "layer.tar", *HOSTILE[what])
    before = sorted(os.listdir(place))
    done = cowfs("import", archive, place / "imported", "--base", base)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert sorted(os.listdir(place)) == before
    assert (place / "canary").read_bytes() == b"safe"


@pytest.mark.root
def test_whiteouts_mean_what_lies_below_wherever_they_stand(workbench: Workbench) -> None:
    base = workbench.base({"d/old": file(b"x"), "d/sub/old": file(b"x"), "e": file(b"x"), "f/g": file(b"x")})
    archive = _archive(
        workbench.place / "layer.tar",
        _member("d/new", size=3),
        _member("d/sub/new", size=3),
        _member("d/.wh..wh..opq"),
        _member(".wh.e"),
        _member(".wh.nothing"),
        _member(".wh.f"),
        _member(".wh..wh.plnk", tarfile.DIRTYPE),
    )
    assert cowfs("import", archive, workbench.place / "imported", "--base", base).returncode == 0
    mount = workbench.mount(base, layer=workbench.place / "imported")
    assert sorted(snapshot(mount.path)) == [b".", b"d", b"d/new", b"d/sub", b"d/sub/new"]
    assert [entry["path"] for entry in json.loads(cowfs("diff", "--json", mount.point).stdout)] == [
        *("d/new", "d/old", "d/sub/new", "d/sub/old", "e", "f", "f/g"),
    ]


@pytest.mark.root
def test_what_cannot_be_exported_or_imported_leaves_nothing_behind(workbench: Workbench) -> None:
    place = workbench.place
    base, layer, _ = _session(workbench, 41)
    truncated = place / "truncated"
    truncated.write_bytes(_export(layer, "oci", place / "whole").read_bytes()[:5000])
    taken = place / "taken"
    taken.mkdir()
    before = sorted(os.listdir(place))

    def refused(words: str, *arguments: str | Path) -> None:
        done = cowfs(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert sorted(os.listdir(place)) == before

    refused("--output", "export", layer, "--format", "overlay")
    refused("exists already", "export", layer, "--format", "overlay", "--output", taken)
    refused("Cannot write", "export", layer, "--output", place / "nowhere" / "x")
    refused("is not a layer", "export", base, "--output", place / "x")
    refused("can be read", "import", truncated, place / "x", "--base", base)
    refused("No such file", "import", place / "missing", place / "x", "--base", base)
    refused("exists already", "import", truncated, taken, "--base", base)
    refused("does not exist", "import", truncated, place / "x", "--base", place / "nowhere")


@pytest.mark.root
def test_sockets_are_named_and_left_out(workbench: Workbench) -> None:
    mount = workbench.mount(workbench.base({"a": file(b"x")}))
    os.mknod(mount.point / "talk", 0o140644)
    mount.stop()
    assert mount.layer is not None
    done = cowfs("export", mount.layer, "--output", workbench.place / "tree.tar")
    assert done.returncode == 0
    assert "talk is a socket" in done.stderr
