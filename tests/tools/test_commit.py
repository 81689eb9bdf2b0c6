"""`cowfs commit`: a layer and its base become one directory, which is what the mount showed."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.harness.bench import Workbench
from tests.harness.snapshot import differences, snapshot
from tests.harness.trees import file, link_to
from tests.tools.command import cowfs_forked as cowfs
from tests.tools.sessions import BASE, Session


@pytest.mark.root
@pytest.mark.parametrize("seed", range(20, 24))
def test_the_new_base_is_what_the_mount_showed(workbench: Workbench, seed: int) -> None:
    base = workbench.base(BASE)
    subprocess.run(["setfacl", "-m", "u:1234:r", "-d", "-m", "g:55:rx", str(base / "b")], check=True)
    subprocess.run(["setcap", "cap_net_raw+ep", str(base / "e/b")], check=True)
    mount = workbench.mount(base)
    Session(mount.path, seed).run(60)
    shown = snapshot(mount.path)
    mount.stop()
    assert mount.layer is not None
    done = cowfs("commit", mount.layer, workbench.place / "new")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"(cowfs: others can enter .*/new and run its set-user-ID programs .*\n)?", done.stderr)
    assert differences(shown, snapshot(str(workbench.place / "new"))) == []
    assert not list(workbench.place.glob(".new*"))


@pytest.mark.root
def test_sparse_files_stay_sparse_and_several_layers_become_one_directory(workbench: Workbench) -> None:
    lowest = workbench.base({"one": file(b"x"), "two": link_to("one"), "d/e": file(b"y")})
    first = workbench.mount(lowest, layer=workbench.place / "first")
    os.truncate(first.point / "d/e", 1 << 32)
    (first.point / "two").write_bytes(b"both")
    first.stop()
    second = workbench.mount(workbench.place / "first", lowest, layer=workbench.place / "second", name="over")
    (second.point / "d").rename(second.point / "moved")
    shown = snapshot(second.path)
    second.stop()
    assert cowfs("commit", workbench.place / "second", workbench.place / "new").returncode == 0
    assert differences(shown, snapshot(str(workbench.place / "new"))) == []
    assert (workbench.place / "new/moved/e").stat().st_blocks <= 64
    assert (workbench.place / "new/one").stat().st_ino == (workbench.place / "new/two").stat().st_ino
    refused = cowfs("commit", "--in-place", workbench.place / "second", lowest)
    assert refused.returncode == 1
    assert "several" in refused.stderr


@pytest.mark.root
def test_in_place_replaces_the_base_and_removes_the_old_one(workbench: Workbench) -> None:
    base = workbench.base(BASE)
    mount = workbench.mount(base)
    Session(mount.path, 30).run(60)
    shown = snapshot(mount.path)
    assert mount.layer is not None
    other = workbench.mount(base, name="other")
    mount.stop()
    done = cowfs("commit", "--in-place", mount.layer, base)
    assert done.returncode == 1
    assert f"in use by the mount on {other.point}" in done.stderr
    other.stop()
    workbench.bases.clear()  # from here on it is to change
    before = sorted(os.listdir(workbench.place))
    done = cowfs("commit", "--in-place", mount.layer, base)
    assert (done.returncode, done.stderr) == (0, "")
    assert differences(shown, snapshot(str(base))) == []
    assert sorted(os.listdir(workbench.place)) == before
    done = cowfs("--layer", mount.layer, base, mount.point)
    assert done.returncode == 1
    assert "was made over" in done.stderr


@pytest.mark.root
def test_a_base_that_is_closed_to_others_stays_so_in_place(workbench: Workbench) -> None:
    base = workbench.base(BASE)
    base.chmod(0o700)
    mount = workbench.mount(base)
    mount.point.chmod(0o755)  # as cowbuild does, for whom it is "/"
    mount.stop()
    workbench.bases.clear()  # from here on it is to change
    assert mount.layer is not None
    assert cowfs("commit", "--in-place", mount.layer, base).returncode == 0
    assert base.stat().st_mode & 0o7777 == 0o700


@pytest.mark.root
def test_what_cannot_be_committed_leaves_nothing_behind(workbench: Workbench) -> None:
    mount = workbench.mount(workbench.base({"a": file(b"x")}))
    new, taken = workbench.place / "new", workbench.place / "taken"
    taken.mkdir()
    assert mount.layer is not None

    def refused(words: str, *arguments: str | Path) -> None:
        before = sorted(os.listdir(workbench.place))
        done = cowfs("commit", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert sorted(os.listdir(workbench.place)) == before

    refused("mounted already", mount.layer, new)
    mount.kill()
    refused("was killed", mount.layer, new)
    mount.start()
    mount.stop()
    refused("exists already", mount.layer, taken)
    refused("is not a layer", taken, new)
    refused("only its own base", "--in-place", mount.layer, taken)
    refused("Cannot make", mount.layer, workbench.place / "nowhere" / "new")


@pytest.mark.root
def test_what_others_could_run_with_ones_rights_is_told() -> None:
    with tempfile.TemporaryDirectory(prefix="cowfs-test-", dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        (place / "base").mkdir()
        bench = Workbench(place, "direct")
        mount = bench.mount(place / "base", layer=place / "layer")
        (mount.point / "program").write_bytes(b"")
        (mount.point / "program").chmod(0o4755)
        mount.stop()
        bench.close()
        for made, words in (
            ("new", ("commit", "layer", "new")),
            ("over", ("export", "--format=overlay", "-o", "over", "layer")),
        ):
            done = cowfs(*(place / word if word in ("layer", "new", "over") else word for word in words))
            assert done.returncode == 0
            assert f"others can enter {place / made} and run its set-user-ID programs" in done.stderr
        (place / "base").chmod(0o700)
        done = cowfs("commit", "--in-place", place / "layer", place / "base")
        assert (done.returncode, done.stderr) == (0, "")
        assert (place / "base").stat().st_mode & 0o777 == 0o700
