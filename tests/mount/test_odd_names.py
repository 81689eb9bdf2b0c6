"""Bases, layers and mount points with colons, commas, blanks, newlines, backslashes and worse in their names."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.harness import syscalls
from tests.harness.command import cowfs_command, is_locked, is_mounted, wait_until
from tests.harness.trees import file, make_tree
from tests.harness.users import as_user

Result = TypeVar("Result")

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("fuse_for_everybody")]

NOBODY = pwd.getpwnam("nobody")  # fusermount3 wants a user with a name
ODD = "a:b, c\\d\n#\t\x0b\r\udcff"


# The second as it is on a desktop.
_ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONIOENCODING": "utf-8:strict"}


@dataclass(frozen=True)
class Ground:
    """A directory with two bases and a mount point, all of an odd name and all one user's."""

    place: Path
    uid: int

    def path(self, word: str) -> Path:
        return self.place / f"{word}{ODD}"

    @property
    def point(self) -> Path:
        return self.path("mnt")

    def do(self, function: Callable[[], Result]) -> Result:
        """As the user, who alone may look into his mount."""
        return as_user(function, self.uid)

    def run(self, *arguments: str | Path) -> str:
        """What the command prints, which must succeed."""
        done = subprocess.run(
            [*cowfs_command(), *map(str, arguments)],
            capture_output=True,
            check=False,
            timeout=60,
            cwd=self.place,
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            env={"PATH": "/usr/bin:/bin", "TMPDIR": str(self.place), **_ENVIRONMENT},
        )
        assert (done.returncode, done.stderr) == (0, b"")
        return os.fsdecode(done.stdout)

    def mount(self, *arguments: str | Path) -> None:
        self.run(*arguments, self.point)


@pytest.fixture(params=[0, NOBODY.pw_uid], ids=["root", "plain-user"])
def ground(place: Path, request: pytest.FixtureRequest) -> Iterator[Ground]:
    made = Ground(place / f"in{ODD}", request.param)
    for word in ("base", "lower"):
        make_tree(str(made.path(word)), {word: file(b"content", uid=made.uid, gid=made.uid)})
    made.point.mkdir()
    for path in (made.place, *made.place.iterdir()):
        os.chown(path, made.uid, made.uid)
    yield made
    while is_mounted(made.point):
        syscalls.umount(os.fsencode(made.point).decode("utf-8", "surrogateescape"), syscalls.MNT_DETACH)


def _escaped(text: str | Path, characters: str) -> str:
    return re.sub(f"[{re.escape(characters)}]", r"\\\g<0>", str(text))


def test_whatever_names_there_are_every_way_to_mount_works(ground: Ground) -> None:
    base, lower, layer = map(ground.path, ("base", "lower", "layer"))
    both = ":".join(_escaped(path, "\\:") for path in (base, lower))
    lowerdir = ":".join(_escaped(path, "\\:,") for path in (base, lower))
    options = ",".join(f"{word}dir={_escaped(ground.path(word), chr(92) + ',')}" for word in ("upper", "work"))
    for arguments, shows in (
        ([base.name], ["base"]),
        ([_escaped(base, "\\:")], ["base"]),
        ([both], ["base", "lower"]),
        (["-o", f"lowerdir={lowerdir},{options}", f"source{ODD}"], ["base", "lower"]),
        (["-o", f"layer={_escaped(layer, chr(92) + ',')}", base], ["base"]),
    ):
        ground.mount(*arguments)
        assert sorted(ground.do(lambda: os.listdir(ground.point))) == shows
        ground.do((ground.point / f"new{ODD}").touch)
        ground.run("umount", ground.point)
        assert not is_mounted(ground.point)
    assert os.listdir(base) == ["base"]
    assert os.listdir(ground.path("upper")) == [f"new{ODD}"]
    wait_until(lambda: not is_locked(layer / "upper"))
    assert os.listdir(layer / "upper") == [f"new{ODD}"]


def test_whatever_names_there_are_every_command_works(ground: Ground) -> None:
    layer, frozen, imported = map(ground.path, ("layer", "frozen", "imported"))
    both = ":".join(_escaped(ground.path(word), "\\:") for word in ("base", "lower"))
    ground.mount("--layer", layer, both)
    ground.do((ground.point / f"new{ODD}").touch)
    assert len(ground.run("list").splitlines()) == 2
    assert len(ground.run("status", ground.point).splitlines()) > 5
    assert len(ground.run("diff", ground.point).splitlines()) == 1
    ground.run("stats", ground.point)
    ground.run("snapshot", ground.point, frozen)
    ground.run("umount", ground.point)
    wait_until(lambda: not is_locked(layer / "upper"))
    ground.run("commit", layer, ground.path("committed"))
    assert sorted(os.listdir(ground.path("committed"))) == ["base", "lower", f"new{ODD}"]
    ground.run("export", frozen, "--format=oci", "-o", ground.path("archive"))
    ground.run("import", ground.path("archive"), imported, "--base", both)
    assert os.listdir(imported / "upper") == [f"new{ODD}"]
    ground.run("discard", imported)
    assert not imported.exists()
