"""The processes around a session: who starts whom, who dies with whom, who removes what is left.

    cowbuild                 this module's `supervise`; the process that the user sees, and may kill
     |- remover              sleeps until cowbuild is gone, however it went, then removes the session's directory
     `- unshare              makes the namespaces, dies with it (PR_SET_PDEATHSIG)
         `- cowbuild         process 1 of the session's PID namespace, dies with unshare (--kill-child); does the work
             |- cowfs        the session's mount, which exists in this mount namespace only
             `- unshare ...  one for each command in the session (sandbox.py), with a PID namespace of its own

When process 1 goes, the kernel kills everything below it and the mounts go with the last process. The directory is all
that can be left, and the remover is there for it. Where the remover was killed too, or the power failed, the next start
removes it: a directory whose lock nobody holds is nobody's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from builder.interrupts import interrupt
from builder.problems import Problem
from builder.removal import REMOVE, remove
from builder.session import foreign_mounts
from builder.user_namespace import UserNamespace, before, check, check_ids, wanted

COWBUILD = (sys.executable, "-P", "-m", "builder")

PREFIX = "cowbuild-"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Waits for the end of its input, which is the end of cowbuild. Processes of the session may die a moment later than
# cowbuild and write until then, so it tries again.
REMOVER = f"""
{REMOVE}
trap '' INT TERM HUP QUIT
read -r _
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    remove "$@" 2>/dev/null && exit 0
    sleep 0.2
done
remove "$@"
"""


def supervise(arguments: Sequence[str], parents: Sequence[Path] = (), *, user_namespace: bool = True) -> int:
    """Run `cowbuild ARGUMENTS` as process 1 of new namespaces, with session directories, and return its exit code.

    One directory is made in each of `parents`, or one in a default place, and gone afterwards. Root can do without the
    user namespace. Problem when the machine does not allow it.
    """
    if wanted():
        check()
    else:
        check_ids()
    directories, locks = _make_directories(parents or [default_parent()])
    received: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        os.write(lifeline_end, bytes([number]))

    lifeline, lifeline_end = os.pipe()
    remover = _start_remover(directories)
    namespace = UserNamespace(use=user_namespace)
    try:
        for number in heeded():
            signal.signal(number, pass_on)
        worker = subprocess.Popen(
            [
                *_before_worker(namespace, arguments, directories),
                *COWBUILD,
                *(word for directory in directories for word in ("--session", str(directory))),
                *("--lifeline", str(lifeline)),
                *(("--namespace-refused", namespace.refused) if namespace.refused else ()),
                *arguments,
            ],
            pass_fds=(lifeline, *locks, *namespace.descriptors),
        )
        os.close(lifeline)
        namespace.map(worker.pid)
        code = worker.wait()
    finally:
        # Also when the wait was cut short: the end of the remover's input is the end of the session.
        os.close(lifeline_end)
        for lock in locks:
            os.close(lock)
        remover.communicate()
    return 128 + received[0] if received else code if code >= 0 else 128 - code


def heeded() -> list[signal.Signals]:
    """Those of SIGNALS that nobody, nohup(1) for one, asked to ignore. SIGTERM is always among them."""
    return [number for number in SIGNALS if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN]


def _start_remover(directories: Sequence[Path]) -> subprocess.Popen[bytes]:
    command = [*before(), "sh", "-c", REMOVER, "cowbuild-remover", *map(str, directories)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _before_worker(namespace: UserNamespace, arguments: Sequence[str], directories: Sequence[Path]) -> tuple[str, ...]:
    """What makes the namespaces that the worker is process 1 of, and lets it die with this process."""
    return (
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *foreign_mounts.before(arguments, directories),
        *namespace.before,
        *("unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child", "--"),
    )


def obey(lifeline: int) -> None:
    """In process 1: from now on signals raise Interrupted, whether sent here or passed on by the process outside.

    A first one only: while it is being obeyed, more of them change nothing.
    """

    def obey_once(number: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        interrupt(number)

    def listen() -> None:
        while data := os.read(lifeline, 1):
            os.kill(os.getpid(), data[0])
        # The process outside is gone. Normally the kernel has killed us before this line is reached.
        os._exit(1)

    for number in heeded():
        signal.signal(number, obey_once)
    threading.Thread(target=listen, daemon=True).start()


@contextmanager
def interruptible() -> Iterator[None]:
    """Outside of a session: what is in here ends with Interrupted at a signal, and so takes away what it made.

    A first one only, as inside.
    """

    def obey_signal(number: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        interrupt(number)

    before = {number: signal.signal(number, obey_signal) for number in heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def private_directory(parent: Path) -> Iterator[Path]:
    """A new directory, gone afterwards; where this process is killed, with the next session or the next of these."""
    [directory], [lock] = _make_directories([parent])
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
        os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """Remove the session directories of this user in `parent` that no living process holds."""
    for directory in parent.glob(PREFIX + "*"):
        try:
            if directory.lstat().st_uid != os.getuid() or directory.is_symlink():
                continue
            lock = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(directory, before())
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def default_parent() -> Path:
    """Where session directories go: on a disk, since a build may need more room than /tmp in memory has."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp")


def _make_directories(parents: Sequence[Path]) -> tuple[list[Path], list[int]]:
    """A new private directory in each, with the descriptors of their locks; what killed sessions left there goes."""
    made = []
    for parent in parents:
        remove_abandoned(parent)
        made.append(_make_directory(parent))
    return [directory for directory, _ in made], [lock for _, lock in made]


def _make_directory(parent: Path) -> tuple[Path, int]:
    """A new private directory, and the descriptor that holds its lock as long as one process has it open."""
    try:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        told = f"Cannot make the session's directory in {parent}: {error.strerror}"
        raise Problem(told, "Set TMPDIR to a directory with room.") from None
    # Locked before it has the name that remove_abandoned looks for.
    lock = os.open(directory / "lock.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(directory / "lock.new", directory / "lock")
    return directory, lock
