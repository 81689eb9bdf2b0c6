"""`--trace`: which files were used, how, and whose they were."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount
from tests.harness.trees import directory, file, symlink

SCRIPT = b"#!/bin/sh\necho done\n"


def _traced(bench: Workbench, *bases: Path) -> tuple[Mount, Path]:
    mount = bench.mount(*bases, start=False)
    trace = bench.place / "trace.jsonl"
    mount.options = (*mount.options, "--trace", str(trace))
    mount.start()
    return mount, trace


def _read(trace: Path) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """The bases, and the records by path."""
    header, *lines = [json.loads(line) for line in trace.read_text().splitlines()]
    assert header["cowfs-trace"] == 1
    return header["bases"], {line.pop("path"): line for line in lines}


def _ended(mount: Mount, trace: Path) -> dict[str, set[str]]:
    """What each file was used for, once the mount is gone."""
    assert not trace.exists()
    assert mount.stop() == 0
    return {path: set(record["uses"]) for path, record in _read(trace)[1].items()}


def _base(bench: Workbench) -> Path:
    base = bench.base(
        {
            "bin/script": file(SCRIPT, 0o755),
            "bin/unused": file(SCRIPT, 0o755),
            "lib/read": file(b"text"),
            "lib/empty": file(),
            "lib/stat": file(b"text"),
            "lib/link": symlink("read"),
            "lib/written": file(b"text"),
            "lib/appended": file(b"text"),
            "lib/mode": file(b"text"),
            "lib/gone": file(b"text"),
            "lib/moved": file(b"text"),
            "lib/directory": directory(),
        }
    )
    shutil.copy2("/bin/true", base / "bin/true")
    return base


def test_each_kind_of_use_is_told_from_the_others(bench: Workbench) -> None:
    mount, trace = _traced(bench, _base(bench))
    at = mount.point
    subprocess.run([at / "bin/true"], check=True)
    subprocess.run([at / "bin/script"], check=True, stdout=subprocess.DEVNULL)
    (at / "lib/link").read_text()
    (at / "lib/empty").read_text()
    (at / "lib/stat").stat()
    (at / "lib/written").write_text("new")
    with (at / "lib/appended").open("a") as writer:
        writer.write("more")
    (at / "lib/mode").chmod(0o600)
    (at / "lib/gone").unlink()
    (at / "lib/moved").rename(at / "lib/there")
    (at / "new").write_text("new")
    (at / "made").mkdir()
    found = {path: uses - {"looked-up"} for path, uses in _ended(mount, trace).items()}
    assert found == {
        "/bin": set(),
        "/bin/true": {"executed"},
        "/bin/script": {"executed", "read"},
        "/lib": set(),
        "/lib/link": {"followed"},
        "/lib/read": {"read"},
        "/lib/empty": {"read"},
        "/lib/stat": set(),
        "/lib/written": {"written"},
        "/lib/appended": {"written"},
        "/lib/mode": {"written"},
        "/lib/gone": {"removed"},
        "/lib/moved": {"removed"},
        "/lib/there": {"created"},
        "/new": {"created", "written"},
        "/made": {"created"},
    }


@pytest.mark.direct_only
def test_a_listing_looks_nothing_up(bench: Workbench) -> None:
    mount, trace = _traced(bench, _base(bench))
    assert len(os.listdir(mount.point / "lib")) == 10
    assert _ended(mount, trace) == {"/lib": {"looked-up", "listed"}}


def test_an_opening_is_seen_also_of_what_the_kernel_has_in_its_cache(bench: Workbench) -> None:
    mount, trace = _traced(bench, _base(bench))
    names = ("read", "stat")
    for name in names:
        (mount.point / "lib" / name).read_text()
    _write_now(mount, trace)
    assert {f"/lib/{name}" for name in names} <= _read(trace)[1].keys()
    trace.unlink()
    (mount.point / "lib/read").read_text()
    subprocess.run([mount.point / "bin/true"], check=True)
    uses = _ended(mount, trace)
    assert uses["/lib/read"] == {"read"}
    assert "executed" in uses["/bin/true"]
    assert "/lib/stat" not in uses


def _write_now(mount: Mount, trace: Path) -> None:
    os.kill(mount.daemon, signal.SIGUSR1)
    give_up = time.monotonic() + 10
    while not trace.exists():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_a_record_tells_whose_file_it_was(bench: Workbench) -> None:
    lower = bench.base({"d/lower": file(b"low"), "d/covered": file(b"low")}, "lower")
    upper = bench.base({"d/upper": file(b"upper"), "d/covered": file(b"covering")}, "upper")
    mount, trace = _traced(bench, upper, lower)
    place = mount.point / "d"
    for name in ("lower", "upper", "covered"):
        (place / name).read_text()
    actions.replace(os.fsencode(place / "upper"), b"mine")
    (place / "lower").write_text("copied up, and still the base's file")
    (place / "lower").read_text()
    assert mount.stop() == 0
    bases, records = _read(trace)
    assert bases == [str(upper), str(lower)]
    assert {path: (record["base"], record["size"]) for path, record in records.items()} == {
        "/d": (0, None),
        "/d/lower": (1, 3),
        "/d/upper": (0, 5),
        "/d/covered": (0, 8),
    } | {path: (None, None) for path in records if "tmp" in path or "new" in path}


def test_a_file_of_an_earlier_session_is_no_longer_a_bases(bench: Workbench) -> None:
    base = bench.base({"f": file(b"base")})
    first = bench.mount(base)
    (first.point / "made").write_text("before")
    (first.point / "f").write_text("changed before")
    first.end()
    mount, trace = _traced(bench, base)
    (mount.point / "made").read_text()
    (mount.point / "f").read_text()
    assert mount.stop() == 0
    records = _read(trace)[1]
    assert (records["/made"]["base"], records["/f"]["base"]) == (None, 0)


def test_names_of_any_bytes_are_written_safely(bench: Workbench) -> None:
    names = [b"new\nline", b"\xff\xfe", b'quote"', b"<b>\x1b[31m", "ä".encode(), b"{}"]
    base = bench.base({name: file(b"x") for name in names})
    mount, trace = _traced(bench, base)
    for name in names:
        with open(mount.path + b"/" + name, "rb") as reader:
            reader.read()
    assert mount.stop() == 0
    assert all(32 <= byte < 127 for line in trace.read_bytes().splitlines() for byte in line)
    assert {os.fsencode(path) for path in _read(trace)[1]} == {b"/" + name for name in names}


def test_a_trace_of_before_is_replaced_whole(bench: Workbench) -> None:
    mount, trace = _traced(bench, _base(bench))
    trace.write_text("of before")
    (mount.point / "lib/read").read_text()
    assert trace.read_text() == "of before"
    assert mount.stop() == 0
    assert "/lib/read" in _read(trace)[1]
    assert [path.name for path in bench.place.iterdir() if "trace" in path.name] == ["trace.jsonl"]


@pytest.mark.direct_only
def test_the_kernel_tells_of_an_opening_only_where_that_is_wanted(bench: Workbench) -> None:
    mount = bench.mount(_base(bench))
    for _ in range(5):
        (mount.point / "lib/read").read_text()
    counted = json.loads(os.getxattr(mount.point, "user.cowfs.stats"))["opcodes"]
    assert counted.get("OPEN", {"requests": 0})["requests"] <= 1


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("missing/trace", "there is no directory"),
        ("base/trace", "lies inside"),
        ("mnt/trace", "lies inside"),
        ("mnt", "it is a directory"),
    ],
)
def test_a_trace_that_cannot_be_written_is_refused_before_the_mount(place: Path, where: str, said: str) -> None:
    for name in ("base", "mnt"):
        (place / name).mkdir()
    ended = subprocess.run(
        [sys.executable, "-m", "cowfs", "-o", f"trace={where}", "base", "mnt"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ended.returncode == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (place / "mnt").is_mount()


def test_a_trace_that_cannot_be_written_at_the_end_is_said(bench: Workbench) -> None:
    where = bench.place / "where"
    where.mkdir()
    mount = bench.mount(bench.base({"f": file()}), start=False)
    mount.options = (*mount.options, "--trace", str(where / "trace"))
    mount.start()
    where.rmdir()
    assert mount.stop() == 1
    assert f"Cannot write the trace {where}/trace: No such file or directory." in mount.log.read_text()
