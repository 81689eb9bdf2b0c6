"""Running a function as somebody else, and opening /dev/fuse to plain users for a while."""

from __future__ import annotations

import contextlib
import os
import pickle
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Result = TypeVar("Result")

PLAIN_USER = 1234
OTHER_USER = 4321


def as_user(
    function: Callable[[], Result], uid: int = PLAIN_USER, gid: int | None = None, groups: Sequence[int] = ()
) -> Result:
    """What `function` returns or raises in a child process that has this identity and no capability."""

    def become_and_call() -> Result:
        os.setgroups(list(groups))
        os.setgid(uid if gid is None else gid)
        os.setuid(uid)
        return function()

    return in_child(become_and_call)


def in_child(function: Callable[[], Result]) -> Result:
    """What `function` returns or raises in a forked process."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            try:
                outcome: tuple[bool, object] = (True, function())
            except OSError as error:
                outcome = (False, OSError(error.errno, error.strerror, error.filename))
            except BaseException:
                outcome = (False, AssertionError(traceback.format_exc()))
            with open(writing, "wb") as pipe:
                pickle.dump(outcome, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if not data:
        raise AssertionError(f"the child said nothing and ended with {os.waitstatus_to_exitcode(status)}")
    succeeded, value = pickle.loads(data)
    if not succeeded:
        raise value
    result: Result = value
    return result


@contextlib.contextmanager
def fuse_device_for_everybody() -> Iterator[None]:
    """Make /dev/fuse usable by plain users, as it is on a desktop, and put its mode back afterwards."""
    before = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)
    try:
        yield
    finally:
        os.chmod("/dev/fuse", before)
