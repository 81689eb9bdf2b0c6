"""Fixtures that several tests of mounts share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.bench import Workbench
from tests.harness.hostile import Grounds


@pytest.fixture
def grounds(bench: Workbench) -> Iterator[Grounds]:
    """A base to attack and a canary outside of it; both are compared at the end."""
    made = Grounds(bench)
    yield made
    made.check()
