"""The search for the fewest things that together make a difference."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from builder.verdict.smallest import smallest

NAMES = [f"n{at}" for at in range(12)]


@pytest.mark.parametrize("needed", [{"n3"}, {"n0", "n11"}, {"n2", "n3", "n9"}, set(NAMES)])
def test_nothing_is_in_it_that_does_not_matter(needed: set[str]) -> None:
    asked: list[frozenset[str]] = []

    def matters(some: Sequence[str]) -> bool:
        asked.append(frozenset(some))
        return needed <= set(some)

    assert set(smallest(NAMES, matters)) == needed
    assert len(asked) == len(set(asked)), "a build was made twice"


def test_of_two_sets_one_is_found() -> None:
    found = smallest(NAMES, lambda some: {"n1", "n2"} <= set(some) or {"n5"} <= set(some))
    assert set(found) in ({"n1", "n2"}, {"n5"})
