"""Dependencies kept between builds."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from builder.store import dependency_layers
from tests.builder.packages import COWBUILD, Workplace, for_both, make_source


def layers(work: Workplace) -> list[Path]:
    return sorted((work.cache / "cowfs/dependencies").iterdir())


def build(work: Workplace, name: str, depends: str, script: str, *options: str) -> tuple[int, str]:
    place = work.place / name
    place.mkdir()
    return work.build(make_source(place, script, name=name, depends=depends), "--deps-cache", *options)


@for_both
def test_the_second_build_takes_what_the_first_installed(work: Workplace) -> None:
    script = "hello | grep -q world && test ! -e /root-was-here"
    code, first = build(work, "one", "hello", script)
    assert code == 0, first[-2000:]
    assert "Setting up hello" in first
    code, second = build(work, "two", "hello", f"{script}; touch /build/reproducible-path/mine")
    assert code == 0, second[-2000:]
    assert "Setting up hello" not in second
    assert "They are in the dependency layer of " in second
    code, third = build(work, "three", "hello", f"{script} && test ! -e /build/reproducible-path/mine")
    assert code == 0, third[-2000:]
    assert len(layers(work)) == 1


def test_other_dependencies_get_a_layer_of_their_own(work: Workplace) -> None:
    assert build(work, "one", "dpkg-dev", "true")[0] == 0
    assert build(work, "two", "dpkg-dev, make", "true")[0] == 0
    assert build(work, "three", "dpkg-dev <!nocheck>", "true", "--profiles", "nocheck")[0] == 0
    assert len(layers(work)) == 3
    command = [*COWBUILD, "cache", "list"]
    listed = subprocess.check_output(command, env=work.environment, text=True)
    assert len(listed.splitlines()) == 3
    assert "for two 1 over" in listed
    subprocess.run([*COWBUILD, "cache", "prune"], env=work.environment, check=True)
    assert layers(work) == []


def test_a_layer_too_old_is_made_anew(work: Workplace) -> None:
    for name in ("one", "two"):
        place = work.place / name
        place.mkdir()
        dsc = make_source(place, name=name)
        code, printed = work.build(dsc, "--deps-cache", "--deps-cache-age", "0", "--apt-update")
        assert code == 0
        assert "They are in the dependency layer of " not in printed
    assert len(layers(work)) == 1


def test_failed_dependencies_are_not_kept(work: Workplace) -> None:
    code, _printed = build(work, "one", "there-is-no-such-package", "true")
    assert code == 3
    assert layers(work) == []


def test_builds_side_by_side_share_a_layer(work: Workplace) -> None:
    running = []
    for name in ("one", "two", "three"):
        place = work.place / name
        place.mkdir()
        running.append(work.start(make_source(place, name=name), "--deps-cache"))
    for process in running:
        with process:
            printed, _nothing = process.communicate()
        assert process.returncode == 0, printed[-2000:]
    assert len(layers(work)) == 1
    work.assert_nothing_left()


def test_a_killed_build_leaves_no_half_layer(work: Workplace) -> None:
    with work.start(make_source(work.place), "--deps-cache") as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Install package build dependencies" in line:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    work.assert_nothing_left()
    assert layers(work) == []
    code, printed = work.build(work.place / "tiny_1.dsc", "--deps-cache")
    assert code == 0, printed[-3000:]
    assert "Status: successful" in printed
    assert len(layers(work)) == 1


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def keep(place: Path, key: str) -> None:
    made = place / f"made-{key}"
    (made / "layer/upper").mkdir(parents=True)
    (made / "layer/upper/content").write_bytes(b"x" * 1_000_000)
    (place / "cache").mkdir(exist_ok=True)
    with dependency_layers.published_layer(key, made / "layer", package=key, base=place) as layer:
        assert (layer / "upper/content").exists()


def test_the_longest_unused_go_first_and_those_in_use_stay(place: Path) -> None:
    for at, key in enumerate(("a", "b", "c", "d")):
        keep(place, key)
        os.utime(dependency_layers.layers_directory() / key / dependency_layers.INFO, (at, at))
    with dependency_layers.layer_in_use("a", 1e9) as used:
        assert used is not None
        os.utime(dependency_layers.layers_directory() / "a" / dependency_layers.INFO, (0, 0))
        removed = dependency_layers.prune(2_500_000)
    assert [each.key for each in removed] == ["b"]
    assert sorted(each.key for each in dependency_layers.all_layers()) == ["a", "c", "d"]
    with dependency_layers.layer_in_use("b", 1e9) as gone, dependency_layers.layer_in_use("c", 0.0) as old:
        assert (gone, old) == (None, None)
