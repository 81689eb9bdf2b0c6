"""Random operations on a mount and on an ordinary directory in step: every result, every error, the whole tree.

A failing sequence is printed as a program. `pytest --hypothesis-profile=random` tries new sequences instead of the
usual ones, `soak` many more; `shrink` takes minutes to find the shortest that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from cowfs.union import data, listing, rename
from cowfs.union.attrs import Changer
from cowfs.union.nodes import Node
from cowfs.union.tree import Tree
from tests.harness import syscalls
from tests.harness.in_step import InStep


def run(where: Path, name: str, breakage: Callable[[], object] | None = None) -> None:
    class Machine(InStep):
        place = where
        engine = name
        sabotage = breakage

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=settings().max_examples // 3,  # one is a mount and some hundred operations
            deadline=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            print_blob=False,
            database=None,
            stateful_step_count=100,
        ),
    )


@pytest.mark.slow
@pytest.mark.root
def test_random_operations_in_step_with_an_ordinary_directory(place: Path, engine: str) -> None:
    run(place, engine)


def _forget_whiteouts() -> None:
    setattr(Tree, "make_whiteout", lambda *_: None)  # noqa: B010  a method, which mypy lets nobody assign to


def _lose_some_writes() -> None:
    whole = data.write

    def write(tree: Tree, node: Node, offset: int, buffer: bytes | memoryview, unprivileged: Changer | None) -> int:
        return len(buffer) if offset == 4095 else whole(tree, node, offset, buffer, unprivileged)

    data.write = write


def _take_exchanges_for_renames() -> None:
    whole = rename.rename

    def rename_always(tree: Tree, old: rename.Name, new: rename.Name, flags: int = 0) -> None:
        whole(tree, old, new, flags & ~syscalls.RENAME_EXCHANGE)

    rename.rename = rename_always


def _keep_listings() -> None:
    setattr(listing.Listing, "remove", lambda *_: None)  # noqa: B010


@pytest.mark.root
@pytest.mark.parametrize(
    "sabotage", [_forget_whiteouts, _lose_some_writes, _take_exchanges_for_renames, _keep_listings]
)
def test_a_planted_bug_is_found(place: Path, sabotage: Callable[[], object]) -> None:
    """A union broken on purpose does not pass: the test above can tell."""
    with pytest.raises((AssertionError, OSError)):
        run(place, "direct", sabotage)
