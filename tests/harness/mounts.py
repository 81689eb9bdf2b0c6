"""A mounted cowfs under test: started, watched, always taken away."""

from __future__ import annotations

import gc
import os
import re
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import cowfs.command.main
import cowfs.daemon.mount
import cowfs.daemon.serving
import cowfs.fuse.pyfuse3_engine
from tests.harness import syscalls

DAEMON_LIFETIME = 240  # seconds; SIGALRM then ends a daemon that hangs, and with it whatever waits for it
START_TIMEOUT = 60.0  # seconds; of a busy machine
READY = b"!"
_KEPT_FLAGS = os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME  # mount(2) has the same numbers
SUSPICIOUS = re.compile(r"Traceback|[Uu]nexpected|Error\b|Exception|WARNING|ResourceWarning|never awaited")


class MountError(Exception):
    """The daemon ended, or was not usable in time; carries its exit code and what it printed."""


@dataclass
class Mount:
    """One base, the layer over it, and where they are seen together.

    `layer` None asks for a temporary layer. `log` collects what every daemon of this mount prints.
    """

    base: str
    point: Path
    layer: Path | None
    engine: str
    log: Path
    options: Sequence[str] = ("-o", "allow_other")
    allowed_log: str = r"\A(?!)"  # what the log may say although it looks suspicious (a regular expression)
    daemon: int = 0  # process id, 0 when not running
    sabotage: Callable[[], object] | None = None  # done in the daemon before it starts

    @property
    def path(self) -> bytes:
        return os.fsencode(self.point)

    def arguments(self) -> list[str]:
        layer = ["--layer", str(self.layer)] if self.layer else []
        return ["-f", "--engine", self.engine, *layer, *self.options, self.base, str(self.point)]

    def start(self) -> None:
        """Return when the mount is usable; MountError if it does not come to that."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as ready:
            self.daemon = start_daemon(self.arguments(), self.log, writing, self.sabotage)
            os.close(writing)
            started, _, _ = select.select([ready], [], [], START_TIMEOUT)
            if not started:
                self.kill()
                raise MountError(f"not usable after {START_TIMEOUT} s: {self.log.read_text()}")
            if ready.read(1) != READY:
                raise MountError(f"exit code {self.wait()}: {self.log.read_text()}")
        os.statvfs(self.point)

    def stop(self) -> int:
        """Unmount as umount(8) does and return the daemon's exit code."""
        syscalls.umount(str(self.point))
        return self.wait()

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for the daemon to end; its exit code, or minus the signal that ended it."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            ended, status = os.waitpid(self.daemon, os.WNOHANG)
            if ended:
                self.daemon = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        raise AssertionError(f"the daemon did not end within {timeout} s")

    def remount(self) -> None:
        code = self.stop()
        assert code == 0, f"the daemon ended with {code}: {self.log.read_text()}"
        self.start()

    def forget(self) -> None:
        """Make the kernel forget each name and file of the mount that is not in use: it sends FORGET, and asks again.

        A remount does that (reconfigure_super in fs/super.c). /proc/sys/vm/drop_caches would do it to the whole
        machine, and whatever else runs on it would then wait for the disk.
        """
        flags = os.statvfs(self.point).f_flag & _KEPT_FLAGS
        syscalls.mount("none", str(self.point), "", syscalls.MS_REMOUNT | flags)

    def kill(self) -> None:
        """SIGKILL the daemon and clear away what it leaves mounted."""
        if self.daemon:
            os.kill(self.daemon, signal.SIGKILL)
            os.waitpid(self.daemon, 0)
            self.daemon = 0
        self._detach()

    def end(self) -> None:
        """Leave nothing behind, whatever state the mount is in, then fail if anything was wrong with it."""
        problems: list[str] = []
        if self.daemon:
            try:
                code = self.stop()
                if code != 0:
                    problems.append(f"the daemon ended with {code}")
            except OSError as error:
                problems.append(f"umount: {error}")
            except AssertionError as error:
                problems.append(str(error))
        self.kill()
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        if problems or SUSPICIOUS.search(re.sub(self.allowed_log, "", said)):
            problems.append("the daemon printed:\n" + said)
        assert not problems, "\n".join(problems)

    def _detach(self) -> None:
        try:
            while True:
                syscalls.umount(str(self.point), syscalls.MNT_DETACH)
        except OSError:
            return


def start_daemon(arguments: Sequence[str], log: Path, ready: int, sabotage: Callable[[], object] | None = None) -> int:
    """Fork a process that runs the `cowfs` command; its id. It writes READY to `ready` when it is mounted.

    A fork instead of a fresh interpreter, since hundreds of tests each want a mount: it saves the imports. The command
    as a user starts it is the theme of test_command.py. What the daemon needs is imported above: one forked as a plain
    user might not be able to read it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    return _run_command(arguments, log, ready, sabotage)


def _run_command(arguments: Sequence[str], log: Path, ready: int, sabotage: Callable[[], object] | None) -> NoReturn:
    code = 70
    gc.freeze()  # what the tests left over must not close descriptors whose numbers are the daemon's now
    try:
        os.setpgid(0, 0)
        syscalls.die_with_parent(signal.SIGKILL)
        for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.alarm(DAEMON_LIFETIME)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        warnings.simplefilter("default")
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        wanted = [os.dup(descriptor) for descriptor in (os.open(os.devnull, os.O_RDONLY), output, output, ready)]
        for place, descriptor in enumerate(wanted):
            os.dup2(descriptor, place)
        os.closerange(4, 4096)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os.chdir("/")
        _tell_when_mounted(3)
        if sabotage:
            sabotage()
        code = cowfs.command.main.main(list(arguments))
    except SystemExit as exit_request:
        if isinstance(exit_request.code, str):
            print(exit_request.code, file=sys.stderr)
        code = exit_request.code if isinstance(exit_request.code, int) else int(exit_request.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell_when_mounted(ready: int) -> None:
    serve = cowfs.daemon.serving.run

    def tell_and_serve(mount: cowfs.daemon.mount.Mount) -> None:
        os.write(ready, READY)
        os.close(ready)
        serve(mount)

    cowfs.daemon.serving.run = tell_and_serve
