"""One clear sentence for every mistake, and nothing changed by it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.command.ground import Ground, refused
from tests.harness.command import cowfs, cowfs_command, is_locked, is_mounted, unmount, wait_until
from tests.harness.trees import file, make_tree


def test_wrong_paths_get_one_clear_sentence(ground: Ground) -> None:
    """By turns in the foreground, and from a daemon, which tells its caller why it ends."""
    base, point, layer = ground.base, ground.point, ground.layer
    missing = ground.base.parent / "missing"
    (ground.base.parent / "plain-file").touch()
    cases: list[tuple[list[str | Path], tuple[str, ...]]] = [
        ([missing, point], (str(missing), "does not exist|no such")),
        ([base / "file", point], ("not a directory",)),
        ([base, missing], (str(missing), "does not exist|no such")),
        ([base, base / "file"], ("not a directory",)),
        ([f"{base}:{missing}", point], (str(missing),)),
        (["--layer", base / "layer", base, point], ("layer", "base|inside")),
        (["--layer", base, base, point], ("layer|base",)),
        (["--layer", ground.base.parent, base, point], ("layer|base",)),
        (["--layer", ground.base.parent / "plain-file", base, point], ("not a directory",)),
        (["--layer", point / "layer", base, point], ("layer",)),
        (["--layer", layer, base, layer], ("layer|mount point",)),
    ]
    for number, (arguments, words) in enumerate(cases):
        done = ground.run(*["-f"] * (number % 2), *arguments)
        assert not is_mounted(point), arguments
        refused(done, *words)
    assert sorted(os.listdir(ground.base)) == ["d", "file"]
    assert os.listdir(ground.temporary) == []


def test_a_senseless_command_line_gets_usage_and_exit_code_2(ground: Ground) -> None:
    for arguments in (
        [],
        [ground.base],
        [ground.base, ground.point, "more"],
        ["--nonsense", ground.base, ground.point],
        ["--engine", "none", ground.base, ground.point],
        ["-o", "nonsense", ground.base, ground.point],
        ["-o", "engine=none", ground.base, ground.point],
        ["-o", "workdir=/tmp", ground.base, ground.point],
        ["", ground.point],
    ):
        done = cowfs(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stderr


@pytest.mark.root
def test_a_mount_point_in_use_is_refused(ground: Ground) -> None:
    assert ground.run(ground.base, ground.point).returncode == 0
    refused(ground.run(ground.base, ground.point), str(ground.point), "use|mounted")
    unmount(ground.point)


@pytest.mark.root
def test_a_layer_that_is_mounted_is_refused_also_from_another_namespace(ground: Ground) -> None:
    second = ground.point.parent / "second"
    second.mkdir()
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    refused(ground.run("--layer", ground.layer, ground.base, second), "layer", "mounted|use")
    elsewhere = ["unshare", "-m", *cowfs_command(), "-f", "--layer", *map(str, (ground.layer, ground.base, second))]
    done = subprocess.run(elsewhere, capture_output=True, text=True, check=False, timeout=60)
    refused(done, "layer", "mounted|use")
    unmount(ground.point)
    wait_until(lambda: ground.run("--layer", ground.layer, ground.base, second).returncode == 0)
    unmount(second)


@pytest.mark.root
def test_a_layer_of_another_base_is_refused(ground: Ground) -> None:
    other = ground.point.parent / "other"
    make_tree(str(other), {"file": file(b"other")})
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    unmount(ground.point)
    wait_until(lambda: not is_locked(ground.layer / "upper"))
    refused(ground.run("--layer", ground.layer, other, ground.point), "layer", str(ground.base))


@pytest.mark.root
def test_a_damaged_layer_gets_a_clear_error(ground: Ground) -> None:
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    unmount(ground.point)
    wait_until(lambda: not is_locked(ground.layer / "upper"))
    [metadata] = [path for path in ground.layer.iterdir() if path.is_file()]
    damaged = (
        "",
        "{",
        "[]",
        '{"format": 1}',
        '{"format": 99, "bases": [], "marks": "trusted"}',
        "\0\0",
        '{"format": null}',
    )
    for content in damaged:
        metadata.write_text(content)
        refused(ground.run("--layer", ground.layer, ground.base, ground.point), "layer")


@pytest.mark.root
def test_without_dev_fuse_the_reason_is_said(ground: Ground) -> None:
    script = 'mount -t tmpfs none /dev && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", *cowfs_command(), "-f", str(ground.base), str(ground.point)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.PIPE)
    refused(done, "/dev/fuse")
