"""What the tests of the command stand on: a base and a mount point, and how a command fails as it should."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.harness.command import cowfs
from tests.harness.trees import file, make_tree

NOBODY = pwd.getpwnam("nobody")  # fusermount3 wants a user with a name


class Ground(NamedTuple):
    """A base, an empty mount point, a place for layers and one for temporary layers."""

    base: Path
    point: Path
    layer: Path
    temporary: Path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return cowfs(*arguments, environment={"TMPDIR": str(self.temporary)})


def refused(done: subprocess.CompletedProcess[str], *words: str, code: tuple[int, ...] = (1, 2)) -> None:
    """The command failed as it should: an exit code, one sentence that holds the words, no traceback."""
    assert done.returncode in code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    for word in words:
        assert re.search(word, done.stderr, re.IGNORECASE), (word, done.stderr)
    sentence = [line for line in done.stderr.splitlines() if line and not line.startswith(("usage:", "Try:"))]
    assert len(sentence) == 1, done.stderr
    assert done.stdout == ""


def plain_user_ground(place: Path) -> tuple[Path, Path, Path]:
    home = place / "home"
    make_tree(str(home / "base"), {"file": file(b"content", uid=NOBODY.pw_uid, gid=NOBODY.pw_gid)})
    for name in ("mnt", "tmp"):
        (home / name).mkdir()
    for path in (home, home / "base", home / "mnt", home / "tmp"):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    return home / "base", home / "mnt", home / "tmp"


def as_plain_user(command: list[str], path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        user=NOBODY.pw_uid,
        group=NOBODY.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": path, "HOME": "/nonexistent", "TMPDIR": "/tmp", "PYTHONPATH": ":".join(_source_path())},
    )


def _source_path() -> list[str]:
    return [str(Path(__file__).parents[2])]
