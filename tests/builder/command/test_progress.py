"""What one sees while packages are built, on a real terminal and without one."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from builder import screen
from tests.builder.packages import COWBUILD, Workplace, log_of, make_source
from tests.harness.terminal import Terminal

STATUS = re.compile(r"tiny 1 \(amd64\) .* total \d+:\d\d")


def on_terminal(work: Workplace, packages: list[Path], *options: str, kind: str = "xterm-256color") -> Terminal:
    command: list[str | Path] = [*work.base.owner.before, *COWBUILD, "build", *packages, *options]
    command += ["--base", work.base.path, "--output", work.output, "--no-apt-update", "--no-deps-cache"]
    return Terminal(command, {**work.environment, "NO_COLOR": ""}, kind=kind)


def shows_status(lines: list[str]) -> bool:
    return bool(lines) and STATUS.fullmatch(lines[-1]) is not None


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_the_stage_and_the_times_stand_below_the_log_and_leave_nothing_in_it(work: Workplace) -> None:
    script = "printf 'half a line, '; sleep 2; printf 'the other \\303\\274\\nred: \\033[31mred\\033[m\\n'"
    with on_terminal(work, [make_source(work.place, script)], "--time-limit", "600") as terminal:
        terminal.wait_for(lambda lines: shows_status(lines) and lines[-2] == "half a line,")
        assert re.search(r"Build: dpkg-buildpackage +━+ 0:0\d of 10:00 total 0:", terminal.lines()[-1])
        terminal.wait_for(lambda lines: any("half a line, the other ü" in line for line in lines))
        assert terminal.end() == 0
    log = log_of(work.output)
    assert "\x1b[31mred" in log
    assert log.count("\x1b") == 2
    shown = re.sub(r"\x1b\[\d*m", "", log).expandtabs().splitlines()
    seen = terminal.all_lines()
    assert [line for line in shown if len(line) < 100 and line.rstrip() not in seen] == []
    assert not [line for line in seen if STATUS.fullmatch(line)]
    assert seen[len("\n".join(seen).rstrip().splitlines()) - 1].startswith("Build needed ")


def test_only_the_log_is_seen_on_a_terminal_that_cannot_move(work: Workplace) -> None:
    with on_terminal(work, [make_source(work.place, "sleep 1")], kind="dumb") as terminal:
        assert terminal.end() == 0
    assert terminal.received == log_of(work.output).encode().replace(b"\n", b"\r\n")


def test_things_move_only_where_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "")
    assert isinstance(screen.of_build(quiet=False, one_of_several=False), screen.StatusScreen)
    assert not isinstance(screen.of_build(quiet=True, one_of_several=False), screen.StatusScreen)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not isinstance(screen.of_build(quiet=False, one_of_several=False), screen.StatusScreen)


def test_a_shell_in_the_middle_of_a_build_has_the_terminal_for_itself(work: Workplace) -> None:
    dsc = make_source(work.place, "sleep 2; exit 1")
    with on_terminal(work, [dsc], "--build-failed-commands", "%SBUILD_SHELL") as terminal:
        terminal.wait_for(shows_status)
        terminal.wait_for(lambda lines: lines[-1].endswith("#"))
        before = len(terminal.received)
        terminal.type("PS1='> '; echo $((41 + 1)) here; sleep 2\r")
        terminal.wait_for(lambda lines: "42 here" in lines)
        terminal.wait_for(lambda lines: lines[-1] == ">")
        assert b"total" not in terminal.received[before:]
        assert b"\x1b[J" not in terminal.received[before:]
        terminal.type("exit\r")
        assert terminal.end() == 2
    assert "Fail-Stage: build" in terminal.lines()


def test_ctrl_c_leaves_a_clean_terminal(work: Workplace) -> None:
    with on_terminal(work, [make_source(work.place, "sleep 1000")]) as terminal:
        terminal.wait_for(lambda lines: shows_status(lines) and "dpkg-buildpackage" in lines[-1])
        terminal.type("\x03")
        assert terminal.end() == 128 + signal.SIGINT
    assert "E: interrupted in stage build" in terminal.lines()
    assert not [line for line in terminal.all_lines() if STATUS.fullmatch(line)]


def test_of_several_packages_a_table_says_how_each_is(work: Workplace) -> None:
    packages = []
    for name, script in (("tiny", "sleep 2"), ("failing", "exit 1"), ("impossible", "true")):
        place = work.place / name
        place.mkdir()
        packages.append(make_source(place, script, name=name))
    (work.place / "impossible/impossible_1.tar.xz").write_text("spoilt")
    rows = re.compile(r"│ (\w+)_1\.dsc +│ (\S*) +│ (.*?) +│ +(\S*) │")

    def states(lines: list[str]) -> dict[str, tuple[str, str]]:
        return {found[1]: (found[2], found[3]) for line in lines if (found := rows.match(line))}

    with on_terminal(work, packages, "--parallel", "2") as terminal:
        terminal.wait_for(lambda lines: states(lines).get("impossible") == ("waiting", ""))
        terminal.wait_for(lambda lines: states(lines).get("tiny") == ("building", "Build: dpkg-buildpackage"))
        assert terminal.end() == 3
    assert states(terminal.lines()) == {
        "tiny": ("successful", ""),
        "failing": ("attempted", "build"),
        "impossible": ("given-back", "fetch-src"),
    }
    assert len([line for line in terminal.all_lines() if rows.match(line)]) == 3
    printed = "".join(line for line in terminal.lines() if not rows.match(line))
    assert printed.count(": started") == 4  # what is given back is tried once more
    assert (printed.count(": attempted"), printed.count(": given-back")) == (1, 2)
