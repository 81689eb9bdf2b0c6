"""Rebuilds under another version, without a build."""

from __future__ import annotations

import pytest

from builder.build.binnmu import Rebuild
from builder.problems import Misuse

ENTRY = "tiny (1+b7) sid; urgency=low, binary-only=yes\n\n  * Again.\n\n -- A <a@b>  Thu, 01 Jan 1970 00:00:00 +0000\n"


def test_the_number_0_is_not_seen() -> None:
    assert Rebuild(number=0, text="x").version("1-2") == "1-2"
    assert Rebuild(number=0, suffix="+x").version("1-2") == "1-2+x"
    assert Rebuild(text="x").version("1-2") == "1-2+b1"


def test_an_entry_as_it_is_to_be_says_the_version() -> None:
    rebuild = Rebuild(whole_entry=ENTRY)
    assert rebuild.wanted
    assert rebuild.version("1") == "1+b7"
    assert rebuild.entry("tiny", "1", "sid", "amd64") == ENTRY


def test_what_is_no_entry_is_told() -> None:
    with pytest.raises(Misuse, match="is none"):
        Rebuild(whole_entry="* only a line").check()
