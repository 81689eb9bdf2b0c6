"""What one reads of many builds: how far they are, the table where there are too many for a screen, the page."""

from __future__ import annotations

import time

from builder.many import board, report
from builder.many.report import Build, Report, Row
from builder.many.task import Entry, State, Task


def entry(name: str, state: State, seconds: float = 0.0, expected: float | None = None) -> Entry:
    made = Entry(Task(name, []), state=state, seconds=seconds, expected=expected)
    if state is State.BUILDING:
        made.started = time.monotonic() - seconds
    return made


def test_the_end_is_told_from_what_was_known_before_and_what_has_ended() -> None:
    assert board.seconds_left([entry("a", State.WAITING)], 1) is None
    entries = [
        entry("long", State.BUILDING, seconds=100, expected=400),
        entry("done", State.SUCCESSFUL, seconds=60),
        entry("unknown", State.WAITING),
        entry("known", State.WAITING, expected=140),
    ]
    left = board.seconds_left(entries, 1)
    assert left is not None
    assert 495 < left < 505
    # However many there are, the longest takes its time.
    left = board.seconds_left(entries, 100)
    assert left is not None
    assert 295 < left < 305
    told = board.Board(1).progress([*entries, entry("bad", State.ATTEMPTED, seconds=60)])
    assert told.startswith("2 of 5, 1 not built, about 8:")


def test_of_too_many_those_are_shown_that_one_wants_to_see() -> None:
    entries = [entry(f"good-{at}", State.SUCCESSFUL) for at in range(50)]
    entries += [entry(f"waiting-{at}", State.WAITING) for at in range(50)]
    entries[30:30] = [entry("now", State.BUILDING), entry("bad", State.ATTEMPTED)]
    shown = [each.task.name for each in board._of_interest(entries, 4)]
    assert shown == ["now", "bad", "waiting-0", "waiting-1"]


def test_a_page_shows_what_builds_say_and_believes_none_of_it() -> None:
    bad = "<script>alert(1)</script>\x1b[31m"
    build = Build("with", "attempted", 2, 2, 61.0, bad, f"with/x/{bad}.build", bad)
    made = report.page(Report(bad, {"regression": "bad"}, (Row(bad, bad, "regression", (build,)),), (bad,)))
    assert "<script>alert" not in made
    assert "\x1b" not in made
    assert 'href="with/x/%3Cscript%3E' in made
    assert "2 tries" in made
    [line, counts] = report.lines(Report("t", {"regression": "bad"}, (Row("x", "1", "regression", (build,)),)))
    assert line.startswith("x  regression")
    assert counts == "1 package: 1 regression"
