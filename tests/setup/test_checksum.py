"""The checksum that proves a base unchanged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from setup.checksum import checksum


def test_the_checksum_sees_each_kind_of_change(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    file = tree / "file"
    file.write_text("a")
    (tree / "link").symlink_to("file")
    moment = 1_000_000_000

    def settled() -> str:
        for path in (file, tree):
            os.utime(path, ns=(moment, moment))
        return checksum(tree)

    seen = {settled()}
    copy = tree.parent / "copy"
    copy.write_text("b")
    changes: list[Callable[[], object]] = [
        lambda: file.write_text("b"),
        lambda: file.chmod(0o600),
        lambda: os.link(file, tree / "other"),
        lambda: os.replace(copy, tree / "other"),
        lambda: os.setxattr(file, "user.x", b"1"),
        (tree / "new").mkdir,
    ]
    for count, change in enumerate(changes, start=2):
        change()
        seen.add(settled())
        assert len(seen) == count
    os.utime(file, ns=(moment, moment + 1))
    assert checksum(tree) not in seen
