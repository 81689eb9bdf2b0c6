"""Every candidate of the benchmarks really makes a session, shows the base, takes changes, and leaves no trace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.bench import Bench, Task, fingerprint
from benchmarks.candidates import CANDIDATES
from benchmarks.grounds import ground
from benchmarks.results import Figures, Results, load

pytestmark = pytest.mark.root

ON_BTRFS = ("btrfs-snapshot", "reflink")


@pytest.fixture(scope="module")
def btrfs(scratch: Path) -> Iterator[Path]:
    with ground("btrfs", scratch / "btrfs") as here:
        yield here


def make_base(base: Path) -> None:
    (base / "etc").mkdir(parents=True)
    (base / "etc/name").write_text("original\n")
    (base / "etc/link").symlink_to("name")
    (base / "empty").mkdir()


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_session_shows_the_base_takes_changes_and_leaves_nothing(name: str, place: Path, btrfs: Path) -> None:
    candidate = CANDIDATES[name]
    here = btrfs / name if name in ON_BTRFS else place
    here.mkdir(exist_ok=True)
    make_base(here / "base")
    before = fingerprint(here / "base", contents=True)
    reason = candidate.why_not(here)
    if name.startswith("lvm") and reason:
        assert "device-mapper" in reason or "not installed" in reason
        return
    if reason is not None and "not installed" in reason:
        pytest.skip(reason)  # tests/packages.txt: not every release has all
    assert reason is None
    with ExitStack() as stack:
        prepared = stack.enter_context(candidate.prepared(here / "base", here / "prepared"))
        prepared_before = fingerprint(prepared, contents=True)
        with candidate.session(prepared, here / "session") as session:
            assert session.run("cat", "etc/link") == "original\n"
            session.run("sh", "-c", "echo changed >> etc/name; echo new > empty/new; rm etc/link")
            assert (session.root / "etc/name").read_text() == "original\nchanged\n"
            assert os.listdir(session.root / "empty") == ["new"]
            assert session.disk_used() >= 0
        assert not (here / "session").exists()
        assert fingerprint(prepared, contents=True) == prepared_before
    assert fingerprint(here / "base", contents=True) == before


def test_a_candidate_that_cannot_run_says_why(place: Path) -> None:
    assert CANDIDATES["btrfs-snapshot"].why_not(place) == "the files lie on tmpfs"
    assert CANDIDATES["reflink"].why_not(place) == "tmpfs has no reflinks"


def a_bench(place: Path, only: tuple[str, ...] = ()) -> Bench:
    return Bench(Results("trial", "A trial"), place / "scratch", place / "cache", "any", 3, 60.0, only)


def test_values_of_all_rounds_are_kept_with_machine_and_reasons(place: Path) -> None:
    bench = a_bench(place)

    def measure(task: Task) -> Figures:
        with task.candidate.session(task.base, task.place) as session:
            return {"names": float(len(os.listdir(session.root)))}

    bench.over_a_base({"tmpfs": ["overlayfs", "copy", "btrfs-snapshot"]}, make_base, measure)
    kept = load(bench.results.save(place / "results"))
    assert kept.values == {"tmpfs": {"names": {"overlayfs": [2.0] * 3, "copy": [2.0] * 3}}}
    assert kept.left_out == {"tmpfs": {"btrfs-snapshot": "the files lie on tmpfs"}}
    assert kept.machine["kernel"] == os.uname().release
    assert {"date", "commit", "processors", "versions"} <= kept.machine.keys()
    assert not bench.failed


def test_a_candidate_that_changes_the_base_is_caught(place: Path) -> None:
    bench = a_bench(place, only=("cowfs",))

    def measure(task: Task) -> Figures:
        (task.base / "etc/name").write_text("changed behind its back\n")
        return {}

    with pytest.raises(RuntimeError, match="the base was changed"):
        bench.over_a_base({"tmpfs": ["cowfs", "copy"]}, make_base, measure)
    assert bench.failed
    assert "etc/name" in bench.results.left_out["tmpfs"]["cowfs"]
