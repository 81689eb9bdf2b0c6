"""Many builds, with small programs in cowbuild's place: tried again, waiting for others, written down, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.many.board import Board
from builder.many.ledger import Ledger
from builder.many.run import run
from builder.many.task import Entry, State, Task
from builder.many.workers import Local
from builder.problems import Misuse


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def task(name: str, script: str, needs: tuple[str, ...] = ()) -> Task:
    return Task(name, ["sh", "-c", script], package=name, identity="1", needs=needs, output=".")


def conduct(*tasks: Task, resume: bool = False, retry_failed: bool = True) -> Mapping[str, Entry]:
    entries = [Entry(each) for each in tasks]
    ledger = Ledger(Path("ledger"), "asked", resume=resume)
    try:
        ledger.recall(entries)
        run(entries, Local(2, program=()), ledger, Board(2), retry_failed=retry_failed)
    finally:
        ledger.close()
    return {entry.task.name: entry for entry in entries}


def test_what_was_given_back_is_tried_again_and_what_failed_only_alone() -> None:
    alone = "test -e first || { touch first; exit 2; }; sleep 0.3; test $(ls | grep -c running) = 0"
    entries = conduct(
        task("flaky", alone),
        task("broken", "echo run >> broken; exit 2"),
        task("offline", "echo run >> offline; exit 3"),
        task("back", "test -e once || { touch once; exit 3; }"),
        task("killed", "test -e shot || { touch shot; kill -9 $$; }"),
        task("beside", "touch running-$$; sleep 0.2; rm running-$$; test -e again || { touch again; exit 1; }"),
    )
    assert {name: str(entry.state) for name, entry in entries.items()} == {
        "flaky": "flaky",
        "broken": "attempted",
        "offline": "given-back",
        "back": "successful",
        "killed": "successful",
        "beside": "flaky",
    }
    assert Path("broken").read_text() == "run\nrun\n"
    assert Path("offline").read_text() == "run\nrun\n"


def test_nothing_is_begun_that_waits_for_what_was_not_built() -> None:
    entries = conduct(
        task("end", "touch end", ("middle",)), task("middle", "touch middle", ("first",)), task("first", "exit 2")
    )
    assert [str(entry.state) for entry in entries.values()] == ["dep-wait", "dep-wait", "attempted"]
    assert entries["end"].reason == "needs middle, which was not built"
    assert not Path("end").exists()


def test_the_ledger_of_a_killed_run_has_what_had_ended() -> None:
    script = (
        "from tests.builder.many.test_run import conduct, task\n"
        "conduct(task('done', 'echo run >> done'), task('bad', 'echo run >> bad; exit 2'), "
        "task('slow', 'test -e slow && exit; echo $$ > slow; exec sleep 1000'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = b""
        while not (b"bad: attempted" in told and b"done: successful" in told and Path("slow").exists()):
            told += os.read(process.stdout.fileno(), 1000)
        while not (number := Path("slow").read_text()):
            time.sleep(0.01)
        process.kill()
    give_up = time.monotonic() + 10
    while Path(f"/proc/{number.strip()}").exists() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert not Path(f"/proc/{number.strip()}").exists()
    # The line that was being written.
    with Path("ledger").open("a") as file:
        file.write('{"package": "slow", "sta')
    entries = conduct(
        task("done", "echo run >> done"), task("bad", "echo run >> bad; exit 2"), task("slow", "true"), resume=True
    )
    assert [str(entry.state) for entry in entries.values()] == ["successful", "attempted", "successful"]
    assert Path("done").read_text() == "run\n"
    assert Path("bad").read_text() == "run\nrun\n", "the second try alone was still to come"


def test_another_source_of_the_name_is_built_again_and_what_was_given_back_too() -> None:
    conduct(task("one", "true"), task("two", "exit 3"))
    changed = Task("one", ["sh", "-c", "touch again"], package="one", identity="2")
    entries = conduct(changed, task("two", "true"), resume=True)
    assert [entry.state for entry in entries.values()] == [State.SUCCESSFUL, State.SUCCESSFUL]
    assert Path("again").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no ledger"),
        ("[]\n", "is no ledger"),
        ('{"format": 0}\n', "of another version"),
        ('{"format": 1, "asked": "--jobs 1"}\n', "of other options: --jobs 1"),
        ('{"format": 1, "asked": "asked"}\n{"package": 1}\n', "is no ledger"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused_in_a_sentence(content: str | None, said: str) -> None:
    if content is not None:
        Path("ledger").write_text(content)
    with pytest.raises(Misuse, match=said):
        conduct(task("one", "true"), resume=True)
    assert content is None or Path("ledger").read_text() == content


def test_two_do_not_write_the_same_ledger() -> None:
    first = Ledger(Path("ledger"), "", resume=False)
    with pytest.raises(Misuse, match="Another cowbuild"):
        conduct(task("one", "true"))
    first.close()


def test_an_interrupt_ends_what_runs(capfd: pytest.CaptureFixture[str]) -> None:
    script = (
        "from tests.builder.many.test_run import conduct, task\n"
        "conduct(*(task(name, f'echo $$ > {name}; exec sleep 1000') for name in ('a', 'b')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as process:
        while not all(Path(name).exists() and Path(name).read_text() for name in "ab"):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
    assert "Interrupted" in capfd.readouterr().err
    assert not any(Path(f"/proc/{Path(name).read_text().strip()}").exists() for name in "ab")
