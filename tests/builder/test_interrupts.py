"""Signals wait for what may not be cut short."""

from __future__ import annotations

import pytest

from builder import interrupts
from builder.problems import Interrupted


def test_a_signal_waits_for_what_may_not_be_cut_short() -> None:
    done = []

    def work() -> None:
        with interrupts.uninterrupted():
            with interrupts.uninterrupted():
                interrupts.interrupt(15)
                done.append("inner")
            done.append("outer")

    with pytest.raises(Interrupted):
        work()
    assert done == ["inner", "outer"]
    with interrupts.uninterrupted():
        pass  # it came once only
