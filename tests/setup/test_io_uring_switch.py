"""The kernel's switch for FUSE over io_uring, put back whatever way its user ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from setup import io_uring_switch
from tests.harness.command import wait_until

HOLD = """
import pathlib, sys, time
from setup import io_uring_switch
io_uring_switch.SWITCH = pathlib.Path(sys.argv[1])
with io_uring_switch.switched_on():
    print("on", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "switch"
    made.write_text("N\n")
    monkeypatch.setattr(io_uring_switch, "SWITCH", made)
    return made


def test_it_is_on_for_a_while(switch: Path) -> None:
    with io_uring_switch.switched_on():
        assert switch.read_text() == "Y"
        with io_uring_switch.set_to(on=False):
            assert switch.read_text() == "N"
        assert switch.read_text() == "Y"
    assert switch.read_text() == "N\n"


def test_what_an_administrator_switched_on_stays_so(switch: Path) -> None:
    switch.write_text("Y\n")
    with io_uring_switch.switched_on():
        pass
    assert switch.read_text() == "Y\n"


def test_of_two_at_once_the_last_switches_it_off(switch: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        for each in (first, second):
            each.enter_context(io_uring_switch.switched_on())
        first.close()
        assert switch.read_text() == "Y"
    assert switch.read_text() == "N\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_it_is_put_back_when_its_user_is_killed(switch: Path, number: signal.Signals) -> None:
    root = Path(io_uring_switch.__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", HOLD, switch], cwd=root, stdout=-1, stderr=-1) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"on\n"
        assert switch.read_text() == "Y"
        user.send_signal(number)
    wait_until(lambda: switch.read_text() == "N\n")
