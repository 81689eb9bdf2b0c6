"""A workbench for what does not depend on the engine: the layer is the same, whichever wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.bench import Workbench


@pytest.fixture
def workbench(place: Path) -> Iterator[Workbench]:
    made = Workbench(place, "direct")
    yield made
    made.close()
