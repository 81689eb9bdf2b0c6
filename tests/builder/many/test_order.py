"""In which order builds are begun."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builder.many.order import longest_first, without_cycles
from builder.many.task import Entry, Task

NAMES = st.sampled_from("abcdefgh")


def entry(name: str, expected: float | None) -> Entry:
    return Entry(Task(name, []), expected=expected)


def test_the_longest_is_first_and_what_is_unknown_stands_in_the_middle() -> None:
    entries = [entry("short", 1), entry("unknown", None), entry("long", 99), entry("other", None)]
    assert [each.task.name for each in longest_first(entries)] == ["long", "unknown", "other", "short"]


def test_cycles_are_named_and_what_hangs_on_them_still_waits() -> None:
    needs = {"app": ["one"], "one": ["two"], "two": ["one", "base"], "base": ["base"], "alone": ["elsewhere"]}
    met, cycles = without_cycles(needs)
    assert cycles == [["one", "two"]]
    assert met == {"app": ("one",), "one": (), "two": ("base",), "base": (), "alone": ()}


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=8))
def test_what_is_left_can_be_built_one_after_the_other(needs: dict[str, list[str]]) -> None:
    met, cycles = without_cycles(needs)
    waiting, built = set(needs), set[str]()
    while ready := {name for name in waiting if set(met[name]) <= built}:
        built |= ready
        waiting -= ready
    assert not waiting
    # Nothing is left out but within a cycle.
    within = {(one, other) for cycle in cycles for one in cycle for other in cycle}
    left_out = {(name, other) for name, others in needs.items() for other in others if other not in met[name]}
    assert all(other not in needs or one == other or (one, other) in within for one, other in left_out)
