"""Layers hold what others must not run: they are closed to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command.ground import Ground
from tests.harness.command import is_locked, unmount, wait_until
from tests.harness.users import OTHER_USER, as_user


def _enters(path: Path) -> bool:
    """Whether somebody else comes as far as this."""
    try:
        as_user(path.lstat, OTHER_USER)
    except PermissionError:
        return False
    return True


@pytest.mark.root
def test_a_layer_is_closed_to_others_and_one_that_was_open_is_so_from_now_on(ground: Ground) -> None:
    ground.layer.mkdir(mode=0o755)  # as users, and schroot, make it
    done = ground.run("--layer", ground.layer, ground.base, ground.point)
    assert (done.returncode, done.stderr) == (0, "")
    (ground.point / "setuid").write_bytes(b"")
    (ground.point / "setuid").chmod(0o4755)
    assert not _enters(ground.layer / "upper/setuid")
    unmount(ground.point)
    wait_until(lambda: not is_locked(ground.layer / "upper"))
    for mode, words in ((0o2755, f"The layer {ground.layer} was open to others"), (0o700, "")):
        ground.layer.chmod(mode)
        done = ground.run("--layer", ground.layer, ground.base, ground.point)
        assert done.returncode == 0
        assert done.stderr.startswith(words)
        assert done.stderr.count("\n") == bool(words)
        assert ground.layer.stat().st_mode & 0o777 == 0o700
        assert not _enters(ground.layer / "upper/setuid")
        unmount(ground.point)
        wait_until(lambda: not is_locked(ground.layer / "upper"))


@pytest.mark.root
def test_every_command_that_makes_a_layer_makes_it_closed(ground: Ground) -> None:
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    (ground.point / "setuid").write_bytes(b"")
    (ground.point / "setuid").chmod(0o4755)
    frozen, taken = ground.layer.with_name("frozen"), ground.layer.with_name("taken")
    assert ground.run("snapshot", ground.point, frozen).returncode == 0
    assert ground.run("import", frozen / "upper", taken, "--base", ground.base).returncode == 0
    for layer in (ground.layer, frozen, taken):
        assert not _enters(layer / "upper")
    unmount(ground.point)
    wait_until(lambda: not is_locked(ground.layer / "upper"))


@pytest.mark.root
def test_the_work_directory_beside_an_upper_directory_is_closed(ground: Ground) -> None:
    upper = ground.layer.with_name("upper")
    done = ground.run("-o", f"upperdir={upper}", ground.base, ground.point)
    assert done.returncode == 0, done.stderr
    assert not _enters(upper.with_name(".upper.work") / "staging")
    unmount(ground.point)
    wait_until(lambda: not is_locked(upper))
