"""The bases that the builder's tests have, too."""

from __future__ import annotations

from tests.builder.conftest import base_of

__all__ = ["base_of"]
