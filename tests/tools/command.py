"""The `cowfs` command in a forked process: it saves the start of an interpreter, hundreds of times."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

import cowfs.command.main
from tests.harness.users import in_child


def cowfs_forked(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """For commands that end; a mount is made with the workbench."""

    def run() -> subprocess.CompletedProcess[str]:
        said, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
            try:
                code = cowfs.command.main.main([*map(str, arguments)])
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
        return subprocess.CompletedProcess([], code, said.getvalue(), complained.getvalue())

    return in_child(run)
