"""The order of listings, inode numbers and block counts as test conditions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount
from tests.harness.trees import Description, Entry, directory, file, symlink

NAMES = [f"name-{number:04}" for number in (*range(250), *range(300, 500))]  # some requests
TREE: dict[str, Entry] = {f"d/{name}": file() for name in NAMES}

Varied = Callable[..., Mount]


@pytest.fixture
def varied(bench: Workbench) -> Varied:
    """`varied(description, option...)`: a mount with these options of the command."""

    def mount(description: Description, *options: str) -> Mount:
        base = bench.place / "base"
        made = bench.mount(base if base.exists() else bench.base(description), start=False)
        made.options = (*made.options, *options)
        made.start()
        return made

    return mount


def _listed(mount: Mount) -> list[str]:
    return os.listdir(mount.point / "d")


def test_a_sorted_listing_is_sorted_also_after_names_came_and_went(varied: Varied) -> None:
    mount = varied(TREE, "--readdir-order", "sorted")
    assert _listed(mount) == NAMES
    for name in ("name-0270", "a", "z"):
        (mount.point / "d" / name).touch()
    (mount.point / "d/name-0002").unlink()
    assert _listed(mount) == sorted([*NAMES, "name-0270", "a", "z"])[:1] + sorted(
        {*NAMES, "name-0270", "z"} - {"name-0002"}
    )


def test_a_reverse_listing_is_the_sorted_one_backwards(varied: Varied) -> None:
    mount = varied(TREE, "-o", "readdir-order=reverse")
    (mount.point / "d/zz").touch()
    assert _listed(mount) == ["zz", *reversed(NAMES)]


def test_the_same_seed_shuffles_alike_and_another_one_otherwise(varied: Varied) -> None:
    orders = []
    for seed in ("one", "one", "two"):
        mount = varied(TREE, "--readdir-order", f"shuffle:{seed}")
        orders.append(_listed(mount))
        assert orders[-1] == _listed(mount)
        mount.end()
        assert mount.layer is not None
        shutil.rmtree(mount.layer)
    assert orders[0] == orders[1] != orders[2]
    assert [sorted(order) for order in orders] == [NAMES] * 3
    assert orders[0] not in (NAMES, NAMES[::-1])


def test_a_seed_that_was_not_given_is_told(varied: Varied) -> None:
    mount = varied(TREE, "--readdir-order", "shuffle")
    order = _listed(mount)
    [said] = mount.log.read_text().splitlines()
    mount.end()
    again = varied(TREE, "--readdir-order", said.split()[-1])
    assert _listed(again) == order


@pytest.mark.parametrize("order", ["sorted", "reverse", "shuffle:x"])
def test_an_open_directory_shows_what_stays_exactly_once_whatever_comes_and_goes(varied: Varied, order: str) -> None:
    mount = varied(TREE, "--readdir-order", order)
    place = mount.point / "d"
    stream = syscalls.DirectoryStream(os.fsencode(place))
    seen = []
    for step, (name, _, _) in enumerate(stream):
        seen.append(name)
        if step % 10 == 0:
            (place / f"new-{step}").touch()
            (place / NAMES[step % 100]).unlink(missing_ok=True)
            os.listdir(place)  # another reader, whose list is another one
    stream.close()
    kept = [os.fsencode(name) for name in NAMES if (place / name).exists()]
    assert sorted(name for name in seen if name in set(kept)) == kept
    assert len(seen) == len(set(seen))


def test_a_position_is_found_again_in_an_ordered_listing(varied: Varied) -> None:
    mount = varied(TREE, "--readdir-order", "reverse")
    stream = syscalls.DirectoryStream(mount.path + b"/d")
    for _ in range(200):
        stream.read()
    position = stream.tell()
    (behind, *_), *_ = stream
    stream.seek(position)
    assert next(iter(stream))[0] == behind
    stream.rewind()
    assert [name for name, _, _ in stream][2:4] == [b"name-0499", b"name-0498"]
    stream.close()


def test_find_and_rm_work_in_a_shuffled_tree(varied: Varied) -> None:
    mount = varied(TREE | {"d/e/f/g": file(), "d/l": symlink("e")}, "--readdir-order", "shuffle:x")
    found = subprocess.run(["find", "d", "-type", "f"], cwd=mount.point, capture_output=True, text=True, check=True)
    assert len(found.stdout.split()) == len(NAMES) + 1
    subprocess.run(["rm", "-r", "d"], cwd=mount.point, check=True)
    assert os.listdir(mount.point) == []


def test_inode_numbers_vary_with_the_seed_and_stay_what_they_are(varied: Varied) -> None:
    tree = TREE | {"d/sub": directory()}
    plain: list[str] = []
    seen: list[dict[str, int]] = []
    for seed in ("one", "one", "two"):
        mount = varied(tree, "--vary-inodes", seed)
        place = mount.point / "d"
        numbers = {entry.name: entry.inode() for entry in os.scandir(place)}
        assert numbers == {name: (place / name).lstat().st_ino for name in numbers}
        assert len(set(numbers.values())) == len(numbers)
        assert all(1 < number < 1 << 32 for number in numbers.values())
        actions.replace(os.fsencode(place / NAMES[0]), b"x")
        (place / NAMES[1]).chmod(0o600)
        assert (place / NAMES[1]).stat().st_ino == numbers[NAMES[1]]
        seen.append(numbers)
        plain = _by_number({entry.name: entry.inode() for entry in os.scandir(mount.base + "/d")})
        mount.end()
        assert mount.layer is not None
        shutil.rmtree(mount.layer)
    assert seen[0] == seen[1]
    assert not set(seen[0].items()) & set(seen[2].items())
    assert plain != _by_number(seen[0]) != _by_number(seen[2])


def _by_number(numbers: dict[str, int]) -> list[str]:
    return sorted(numbers, key=numbers.__getitem__)


def test_hard_links_are_links_of_one_file_also_with_varied_numbers(varied: Varied, bench: Workbench) -> None:
    base = bench.base({"one": file(b"text")})
    os.link(base / "one", base / "two")
    mount = varied({}, "--vary-inodes", "x")
    (mount.point / "one").write_text("changed")
    assert (mount.point / "two").read_text() == "changed"
    assert (mount.point / "one").stat().st_ino == (mount.point / "two").stat().st_ino


def test_padding_adds_to_the_blocks_of_every_file(varied: Varied) -> None:
    mount = varied({"f": file(b"x" * 5000), "d/g": file()}, "--pad-blocks", "7")
    for name in ("f", "d", "d/g"):
        assert (mount.point / name).stat().st_blocks == os.stat(Path(mount.base) / name).st_blocks + 7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--readdir-order", "random"], "'random' is no order: it is sorted, reverse, shuffle or shuffle:SEED"),
        (["--readdir-order", "reverse:1"], "'reverse:1' is no order"),
        (["-o", "readdir-order="], "-o readdir-order: '' is no order"),
        (["-o", "pad-blocks=-1"], "-o pad-blocks: '-1' is no number of blocks"),
        (["-o", "vary-inodes="], "needs a seed"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(place: Path, options: list[str], said: str) -> None:
    command = [sys.executable, "-m", "cowfs", *options, str(place), str(place)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr
