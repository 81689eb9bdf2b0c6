"""What is read of a base without running anything in it."""

from __future__ import annotations

import os
from pathlib import Path

from builder.debian import base_facts


def test_when_a_base_asked_for_its_lists_is_when_one_arrived_last(tmp_path: Path) -> None:
    lists = tmp_path / "var/lib/apt/lists"
    (lists / "partial").mkdir(parents=True)
    os.utime(lists / "partial", (1000, 1000))
    assert base_facts.lists_asked(tmp_path) is None  # they were removed, to make it smaller
    (lists / "localhost_dists_sid_main_binary-amd64_Packages.lz4").touch()
    assert base_facts.lists_asked(tmp_path) == 1000


def test_no_link_of_a_base_is_asked(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "partial").mkdir(parents=True)
    (elsewhere / "localhost_Packages").touch()
    (tmp_path / "base/var/lib/apt").mkdir(parents=True)
    (tmp_path / "base/var/lib/apt/lists").symlink_to(elsewhere)
    assert base_facts.lists_asked(tmp_path / "base") is None
    assert base_facts.lists_asked(tmp_path / "nothing") is None
