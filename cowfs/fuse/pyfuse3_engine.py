"""The pyfuse3 engine: the same union functions behind stock pyfuse3 and libfuse.

It can do less than the direct engine, since libfuse and pyfuse3 pass less on: each open, close and directory
opening is a request, links and symlinks are asked for again, and O_TMPFILE, fallocate, SEEK_HOLE,
copy_file_range, ioctl, RENAME flags beyond libfuse's and birth times do not exist. What both can do must be
the same: the tests run on both.
"""

from __future__ import annotations

import contextlib
import logging
import os
import traceback
from collections.abc import Iterator

import pyfuse3
import trio

from cowfs.fuse.device import Device, MountError
from cowfs.fuse.engine import FAILURES_IN_VAIN, RETRY_SECONDS, EngineSettings
from cowfs.fuse.pyfuse3_operations import PyfuseOperations
from cowfs.union.tree import Tree

_log = logging.getLogger("cowfs")


async def serve(device: Device, tree: Tree, settings: EngineSettings) -> None:
    """Answers requests until the file system is unmounted, or the surrounding cancel scope is cancelled.

    pyfuse3 keeps its session in global variables: one at a time in a process.
    """
    # libfuse takes a mounted device by this name, and closes it at the end.
    pyfuse3.init(PyfuseOperations(tree, settings), f"/dev/fd/{os.dup(device.fd)}", set())
    try:
        problem = await _main(settings)
        if problem is not None:
            _log.error("reading /dev/fuse failed: %s", problem)
            with contextlib.suppress(MountError):
                device.unmount(lazy=True)  # rather no mount than a dead one
    finally:
        pyfuse3.close(unmount=False)


async def _main(settings: EngineSettings) -> BaseException | None:
    """pyfuse3's loop, begun again each time it stumbles; what it cannot get over, if that ended it.

    When a caller is killed before its request is read, nothing is there to be read, and pyfuse3 takes that for the
    end, as it does any other failure. Its other tasks are cancelled then; those that still work on a request are
    shielded, and answer it first.
    """
    in_vain, served = 0, 0
    while True:
        problems: list[BaseException] = []
        try:
            await pyfuse3.main()
        except* Exception as group:
            problems = list(_each(group))
        if not problems or any(isinstance(problem, ConnectionAbortedError) for problem in problems):
            return None  # unmounted, or taken away by force
        if all(isinstance(problem, BlockingIOError) for problem in problems):
            _log.debug("a request was withdrawn")
            continue
        for problem in problems:
            _log.info("the loop of pyfuse3 begins again after: %r", problem)
            if settings.debug is not None:
                settings.debug("".join(traceback.format_exception(problem)))
        requests = sum(settings.counters.requests)
        in_vain = in_vain + 1 if requests == served else 0
        served = requests
        if in_vain == FAILURES_IN_VAIN:
            return problems[0]
        await trio.sleep(RETRY_SECONDS)


def _each(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error
