"""Several packages in one command."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.builder.packages import Workplace, make_source


def sources(work: Workplace, scripts: dict[str, str]) -> list[Path]:
    found = []
    for name, script in scripts.items():
        place = work.place / name
        place.mkdir()
        found.append(make_source(place, script, name=name))
    return found


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_each_is_built_and_the_worst_is_told(work: Workplace) -> None:
    packages = sources(work, {"fine": "true", "failing": "exit 1", "good": "true"})
    code, printed = work.build(packages, "--parallel", "2")
    assert code == 2
    table = [line.split()[1] for line in printed.rpartition("\n\n")[2].splitlines()]
    assert table == ["successful", "attempted", "successful"]
    assert sorted(path.name.split("_")[0] for path in work.output.glob("*.deb")) == ["fine", "good"]
    assert len([path for path in work.output.glob("*.build") if not path.is_symlink()]) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_all_of_them(work: Workplace, number: signal.Signals) -> None:
    packages = sources(work, {"one": "sleep 1000", "two": "sleep 1000"})
    with work.start(packages, "--parallel", "2") as process:
        give_up = time.monotonic() + 60
        while len(list(work.sessions.iterdir())) < 2 and time.monotonic() < give_up:
            time.sleep(0.05)
        time.sleep(1)
        os.kill(process.pid, number)
        process.communicate()
    work.assert_nothing_left()
    assert process.returncode == (128 + number if number == signal.SIGTERM else -number)


def test_none_is_begun_where_one_is_nothing(work: Workplace) -> None:
    [first] = sources(work, {"one": "true"})
    code, printed = work.build([first, Path("missing.dsc")])
    assert code == 3
    assert "There is no file missing.dsc" in printed
    assert not list(work.output.iterdir())


def test_builds_go_on_when_nobody_reads_any_more(work: Workplace) -> None:
    packages = sources(work, {"one": "true", "two": "true"})
    with work.start(packages, "--parallel", "2") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0
    assert sorted(path.name.split("_")[0] for path in work.output.glob("*.deb")) == ["one", "two"]


def test_in_order_of_dependencies_each_is_built_with_the_packages_of_the_others(work: Workplace) -> None:
    """Two need each other, which is told, and take the archive's; a crash in the middle is gone on after."""
    wanted = {
        "user": ("test -e /usr/share/middle/control", "dpkg-dev, middle"),
        "middle": ("test -e /usr/share/lowest/control && test ! -e WAIT", "dpkg-dev, lowest"),
        "lowest": ("true", "dpkg-dev"),
        "dpkg": ("true", "dpkg-dev, patch"),
        "patch": ("true", "dpkg-dev, dpkg"),
    }
    packages = []
    for name, (script, depends) in wanted.items():
        place = work.place / name
        place.mkdir()
        packages.append(make_source(place, script, name=name, depends=depends))
    order = ("--order", "dependencies")
    code, printed = work.build(packages[:1], *order)
    assert code == 3
    with work.start(packages, *order) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"{packages[2]}: successful"):
                process.kill()
    work.assert_nothing_left()
    code, printed = work.build(packages, *order, "--resume")
    assert code == 0, printed
    assert re.search(r"These need each other, .*: \S+dpkg_1.dsc, \S+patch_1.dsc\n", printed)
    assert re.search(r"cowbuild: [1-3] of 5 are done", printed)
    assert f"{packages[2]}: started" not in printed
    built = [line.partition(": ")[0] for line in printed.splitlines() if line.endswith(": started")]
    assert built.index(str(packages[1])) < built.index(str(packages[0]))
    for name in ("user", "middle", "lowest"):
        assert list(work.output.glob(f"{name}_1_*.deb"))
    code, printed = work.build(packages, *order, "--resume", "--jobs", "1")
    assert code == 2
    assert "is the ledger of other options" in printed
