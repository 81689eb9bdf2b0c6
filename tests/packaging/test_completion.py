"""Words are completed in real shells, on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.builder.packages import COWBUILD
from tests.harness.terminal import Terminal

PROMPT = "ready: "

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
# zsh's dump of what it knows would go into the home directory.
SET_UP = {
    "bash": "PS1='{prompt}'; source {place}/cowbuild.bash; source {place}/cowfs.bash; clear\r",
    "zsh": "PS1='{prompt}'; fpath=({place} $fpath); autoload -U compinit; compinit -u -D; clear\r",
}
WORDS = {
    "cowbuild bui": "cowbuild build",
    "cowbuild build --run-lin": "cowbuild build --run-lintian",
    "cowbuild build --quiet --purge-session succ": "cowbuild build --quiet --purge-session successful",
    "cowbuild build --base si": "cowbuild build --base sid-one",
    "cowbuild shell si": "cowbuild shell sid-one",
    "cowbuild build pack": "cowbuild build package.dsc",
    "cowfs umo": "cowfs umount",
    "cowfs --engine py": "cowfs --engine pyfuse3",
    "cowfs dir": "cowfs directory",
}

NAMES = {"bash": "{}.bash", "zsh": "_{}"}


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A shell that knows both commands, in a directory of its own, with a base sid-one and no session."""
    shell: str = request.param
    for command in ("cowbuild", "cowfs"):
        script = subprocess.check_output([*COWBUILD, "completion", shell, command])
        (tmp_path / NAMES[shell].format(command)).write_bytes(script)
    here = tmp_path / "here"
    for directory in (here / "directory", tmp_path / "data/cowfs/bases/sid-one/tree.1"):
        directory.mkdir(parents=True)
    status = tmp_path / "data/cowfs/bases/sid-one/tree.1/var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text("Package: dpkg\nArchitecture: amd64\n")
    (tmp_path / "data/cowfs/bases/sid-one/current").symlink_to("tree.1")
    (here / "package.dsc").touch()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "XDG_DATA_HOME": f"{tmp_path}/data", "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    with Terminal(["env", "-C", here, *START[shell]], {**os.environ, **own}) as terminal:
        terminal.type(SET_UP[shell].format(prompt=PROMPT, place=tmp_path))
        terminal.wait_for(lambda lines: lines == [PROMPT.rstrip()])
        yield terminal


def shows(wanted: str, lines: list[str]) -> bool:
    return lines[-1].rstrip("/") == wanted


def test_words_are_completed(terminal: Terminal) -> None:
    for typed, completed in WORDS.items():
        terminal.type(f"{typed}\t")
        terminal.wait_for(partial(shows, PROMPT + completed), within=20)
        # The line away, and the screen.
        terminal.type("\x15\x0c")
        terminal.wait_for(lambda lines: lines == [PROMPT.rstrip()])
