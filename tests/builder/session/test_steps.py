"""`cowbuild build --snapshot-steps`: a state after each debhelper command, whatever a build says of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.session import steps
from tests.builder.packages import COWBUILD, Workplace, for_both, make_source

# Like debhelper's, but that nothing need be installed for them. They say what is no command, and once too often.
COMMANDS = """
for each in one two three four; do
    cat > /usr/bin/dh_$each <<END
#!/bin/sh
echo dh_../../x > /var/lib/cowbuild/steps/done
read -r _ < /var/lib/cowbuild/steps/seen
[ $each = two ] || echo $each >> ran
[ $each != four ]
END
    chmod 755 /usr/bin/dh_$each
done
"""
SCRIPT = "dh_one; echo between >> ran; echo more > /tmp/more; dh_two; dh_three; rm ran; dh_four"


def cowbuild(work: Workplace, *words: str) -> tuple[int, str]:
    command = [*work.base.owner.before, *COWBUILD, *words]
    done = subprocess.run(command, env=work.environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout or done.stderr


@for_both
def test_each_state_is_entered_and_forked_also_those_of_a_failed_build(work: Workplace) -> None:
    dsc = make_source(work.place, f"set -e; {SCRIPT}", more={"more": "x\n"})
    code, printed = work.build(dsc, "--snapshot-steps", "--chroot-setup-commands", COMMANDS)
    assert code == 2, printed[-3000:]
    name, *states = [line.split()[0] for line in cowbuild(work, "sessions")[1].splitlines()]
    assert states == [f"{name}:{state}" for state in ("01-dh_one", "02-dh_two", "03-dh_three")]
    assert f"States after debhelper's commands, to be entered and forked as {name}:STATE:\n  01-dh_one\n" in printed

    assert cowbuild(work, "fork", f"{name}:dh_one", "cat", "ran") == (0, "one\n")
    seen = "cat ran /tmp/more; ls /var/lib/cowbuild/steps"
    assert cowbuild(work, "fork", f"{name}:02-dh_two", "--", "sh", "-c", seen) == (0, "one\nbetween\nmore\n")
    assert cowbuild(work, "fork", name, "cat", "ran") == (0, "four\n")

    # What is done in one state stays there, and is in no other.
    assert cowbuild(work, "enter", f"{name}:dh_two", "--", "sh", "-c", "echo entered >> ran")[0] == 0
    assert cowbuild(work, "enter", f"{name}:dh_two", "--", "cat", "ran") == (0, "one\nbetween\nentered\n")
    assert cowbuild(work, "enter", f"{name}:dh_three", "--", "cat", "ran") == (0, "one\nbetween\nthree\n")

    code, told = cowbuild(work, "enter", f"{name}:dh_nine", "true")
    assert (code, "States: 01-dh_one, 02-dh_two, 03-dh_three" in told) == (2, True)
    assert cowbuild(work, "discard", f"{name}:dh_one")[0] == 2
    assert cowbuild(work, "discard", name)[0] == 0
    assert list((work.state / "cowfs/sessions").iterdir()) == []


class Frozen:
    """Stands in for the mount: each question makes a layer, and the upper one is empty from then on."""

    def __init__(self, layer: Path) -> None:
        self.layer = layer

    def ask(self, _layer: Path, question: dict[str, str]) -> None:
        (self.layer / "upper").rename(question["snapshot"])
        (self.layer / "upper").mkdir()


@pytest.fixture
def taking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> steps.Steps:
    from cowfs.daemon import control

    (tmp_path / "layer/upper").mkdir(parents=True)
    (tmp_path / "frozen").mkdir()
    monkeypatch.setattr(control, "ask", Frozen(tmp_path / "layer").ask)
    return steps.Steps(tmp_path / "layer", tmp_path / "frozen")


def test_states_have_a_limit_and_what_changed_nothing_takes_no_room(taking: steps.Steps, tmp_path: Path) -> None:
    for number in range(steps.STATES_LIMIT + 20):
        if number == 3:
            (tmp_path / "layer/upper/file").write_text("x")
        taking.take("dh_many")
        taking.take("no command")
    assert [step.layers for step in taking.taken] == [0] * 3 + [1] * (steps.STATES_LIMIT - 3)
    assert len(taking.frozen) == 1
    assert taking.left_out.startswith("There are no more: 99 states")


def test_states_have_a_limit_of_space(taking: steps.Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "SPACE_LIMIT", 100_000)
    for _ in range(5):
        (tmp_path / "layer/upper/file").write_bytes(b"x" * 80_000)
        taking.take("dh_large")
    assert len(taking.frozen) == 2
    assert taking.left_out
