"""Layers whose own parts somebody cut, forged or replaced: a sentence that names the layer, or something harmless."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.bench import Workbench
from tests.harness.hostile import Grounds
from tests.harness.mounts import MountError
from tests.harness.snapshot import differences, snapshot
from tests.harness.trees import directory, fifo, file, make_tree, symlink, whiteout
from tests.harness.users import PLAIN_USER

pytestmark = pytest.mark.root


def test_a_links_index_full_of_garbage(grounds: Grounds) -> None:
    linked = os.stat(grounds.base / "linked").st_ino
    file_inode = os.stat(grounds.base / "file").st_ino
    canary = os.fsencode(grounds.canary / "secret")
    for content, below in [
        (file(b"LINKED"), "999999999999"),
        (file(b"LINKED"), "-1"),
        (file(b"LINKED"), ""),
        (file(b"LINKED"), "x"),
        (file(b"LINKED"), "\N{SUPERSCRIPT TWO}"),
        (file(b"LINKED"), "9" * 4000),
        (symlink(canary), "1"),
        (directory(), "1"),
        (fifo(), "2"),
        (whiteout(), "2"),
    ]:
        if grounds.layer.exists():
            shutil.rmtree(grounds.layer)
        grounds.make_layer()
        links = grounds.work / "links"
        make_tree(
            str(links),
            {
                f"0-{linked}": content,
                f"0-{file_inode}": file(b"never"),
                "nonsense": file(b""),
                "0-": file(b""),
                "1-2.below.below": symlink(canary),
                "dir": directory(),
                "\udcff": fifo(),
            },
        )
        if below:
            os.symlink(below, links / f"0-{linked}.below")
        else:
            (links / f"0-{linked}.below").mkdir()
        grounds.try_to_mount()


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    make(path)


@pytest.mark.parametrize("part", ["upper", "work", "work/staging", "work/orphans", "work/links", "layer.json"])
def test_parts_of_a_layer_replaced_by_something_else(grounds: Grounds, part: str) -> None:
    """It is refused. The canary tells whether a link out of the layer was followed."""
    target = grounds.canary if part != "layer.json" else grounds.canary / "secret"
    makers: list[Callable[[Path], object]] = [
        lambda path: path.symlink_to(target),
        lambda path: path.symlink_to(path.name),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.write_text("a file") if part != "layer.json" else path.mkdir(),
        os.mkfifo,
        lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5)),
    ]
    for number, make in enumerate(makers):
        if grounds.layer.exists():
            shutil.rmtree(grounds.layer)
        grounds.make_layer()
        _replace(grounds.layer / part, make)
        assert str(grounds.layer) in grounds.try_to_mount(), number
        grounds.check()


def test_root_refuses_a_layer_that_a_plain_user_could_have_forged(bench: Workbench) -> None:
    """Anybody can set user.overlay.*. Who owns the base, and so upper/, does not matter."""
    base = bench.base({".": directory(uid=PLAIN_USER), "file": file(b"content")})
    mount = bench.mount(base, start=False)
    mount.options = ("-o", "allow_other,userxattr")
    mount.start()
    mount.remount()
    mount.stop()
    assert mount.layer is not None
    os.chown(mount.layer, PLAIN_USER, PLAIN_USER)
    mount.options = ("-o", "allow_other")
    with pytest.raises(MountError, match=f"belongs to user {PLAIN_USER}"):
        mount.start()


def test_a_metadata_file_that_was_cut_or_forged(grounds: Grounds) -> None:
    grounds.make_layer()
    good = json.loads((grounds.layer / "layer.json").read_bytes())
    base = good["bases"][0]
    cases = [
        *("", "{", "null", "[]", "1", '"x"', "[" * 100_000, "{}", "\0" * 100, "NaN", '{"format": 1e999}', "9" * 5000),
        *(json.dumps(good)[:length] for length in (1, 20, 50, 100)),
        *(json.dumps({key: value for key, value in good.items() if key != left_out}) for left_out in good),
        json.dumps(good | {"format": 2}),
        json.dumps(good | {"format": "1"}),
        json.dumps(good | {"format": True, "marks": []}),
        json.dumps(good | {"marks": "security"}),
        json.dumps(good | {"marks": {}}),
        json.dumps(good | {"whiteouts": ["device"]}),
        json.dumps(good | {"bases": {}}),
        json.dumps(good | {"bases": "abc"}),
        json.dumps(good | {"bases": [None]}),
        json.dumps(good | {"bases": [base, base]}),
        json.dumps(good | {"bases": [base | {"identity": "x\nTraceback"}]}),
        json.dumps(good) + "x" * (8 << 20),
    ]
    before = snapshot(str(grounds.upper))
    for content in cases:
        (grounds.layer / "layer.json").write_text(content)
        refused = grounds.try_to_mount()
        assert str(grounds.layer) in refused, content[:100]
        assert len(refused) < 2000, content[:100]
    assert differences(before, snapshot(str(grounds.upper))) == []
