"""Running the `cowfs` command as a user does: a process of its own."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.harness import actions, syscalls

_FROM_SOURCE = [sys.executable, "-c", "import sys; from cowfs.command.main import main; sys.exit(main())"]


def cowfs_command() -> list[str]:
    """The installed command beside this interpreter; without an installation, the source tree's."""
    installed = shutil.which("cowfs", path=str(Path(sys.executable).parent))
    return [installed] if installed else _FROM_SOURCE


def cowfs(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command to its end (a mount goes on in its daemon)."""
    return subprocess.run(
        [*cowfs_command(), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})},
    )


def is_mounted(point: Path) -> bool:
    table = Path("/proc/self/mountinfo").read_bytes().split(b"\n")
    wanted = re.sub(rb"[\\ \t\n#]", lambda found: b"\\%03o" % ord(found[0]), os.fsencode(point))
    return any(line.split(b" ")[4] == wanted for line in table if line)


def is_locked(directory: Path) -> bool:
    """Whether somebody holds it, the daemon of the layer say: umount(2) does not wait for that."""
    with actions.opened(os.fsencode(directory)) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def wait_until(condition: object, timeout: float = 60.0) -> None:
    """Until `condition()` is true; AssertionError when it takes too long."""
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"still not so after {timeout} s"
        time.sleep(0.005)


def unmount(point: Path) -> None:
    syscalls.umount(str(point))
    wait_until(lambda: not is_mounted(point))


@contextmanager
def served_by(command: Sequence[str | Path], point: Path) -> Iterator[None]:
    """A mount by a command that stays in the foreground, cowfs under strace(1) say; it must end well."""
    with subprocess.Popen(command) as daemon:
        try:
            wait_until(lambda: is_mounted(point))
            yield
            syscalls.umount(str(point))
            assert daemon.wait(60) == 0
        finally:
            daemon.kill()
            if is_mounted(point):
                syscalls.umount(str(point), syscalls.MNT_DETACH)
