"""From the parsed command line to a mount that is served, here or by a daemon."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from cowfs import linux
from cowfs.base_list import split, split_bases, unescaped
from cowfs.command import variation_options
from cowfs.command.mount_options import UsageError, quota
from cowfs.daemon import elsewhere
from cowfs.daemon.engine_names import ENGINES
from cowfs.daemon.mount import ENDING_SIGNALS, Mount
from cowfs.daemon.request import MountRequest
from cowfs.daemon.trace_file import TraceError, check_place
from cowfs.fuse.device import MountError, MountOptions
from cowfs.fuse.statistics import NoStatisticsError
from cowfs.layer.lock import LayerInUseError
from cowfs.layer.metadata import LayerError

_log = logging.getLogger("cowfs")

SAID = (LayerError, MountError, NoStatisticsError, TraceError)
"""What goes wrong with a sentence of its own."""

# Accepted because mount(8), fstab and overlayfs use them; what they ask for is so in any case.
_WITHOUT_EFFECT = {
    *("rw", "suid", "dev", "exec", "atime", "relatime", "strictatime", "diratime", "nodiratime", "async", "defaults"),
    *("auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "default_permissions"),
    *("redirect_dir", "index", "metacopy", "xino", "volatile", "nfs_export", "uuid", "verity", "comment", "fsname"),
    "acl_cache",  # of the mount helper; here it is always so
}
_PATHS = {"trace": "trace", "layer": "layer", "upperdir": "upper", "workdir": "work"}
_SWITCHES = {"sync": "durable", "userxattr": "user_marks"}
_FLAGS = {"allow_other": "allow_other", "ro": "read_only"} | {
    name: name for name in ("nosuid", "nodev", "noexec", "noatime")
}


def said(error: Exception) -> str:
    """The sentence of one of SAID."""
    return elsewhere.sentence(error) if isinstance(error, LayerInUseError) else str(error)


def _sentence(error: OSError) -> str:
    name = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
    return f"{name}{error.strerror or error}"


def mount(parsed: argparse.Namespace, *, staged: bool) -> int:
    """Mount what the command line asks for; the exit code. UsageError, and those of SAID."""
    _open_standard_descriptors()
    request = _request(parsed)
    request.staged = staged
    if parsed.debug:
        request.debug = lambda line: print(line, file=sys.stderr, flush=True)
    if parsed.foreground or parsed.debug:
        logging.basicConfig(format="cowfs: %(message)s", stream=sys.stderr)
        _serve(request, lambda: None)
        return 0
    return _in_background(request)


def _request(parsed: argparse.Namespace) -> MountRequest:
    """The mount that the command line asks for. UsageError for an option nobody knows."""
    request = MountRequest([], parsed.mountpoint, parsed.layer, durable=parsed.sync, engine=parsed.engine)
    request.quota = parsed.quota
    request.trace = parsed.trace
    request.variation = variation_options.from_arguments(parsed)
    bases: str = parsed.base
    flags: dict[str, Any] = {}
    for name, value in _options(parsed.options):
        if name == "lowerdir":
            bases = value
            continue
        value = unescaped(value)
        if name in _FLAGS:
            flags[_FLAGS[name]] = True
        else:
            _take_option(request, name, value)
    if request.layer is not None and request.upper is not None:
        raise UsageError("A layer and upperdir= are two places to write to: give one of them.")
    if request.work is not None and request.upper is None:
        raise UsageError("workdir= goes with upperdir=.")
    try:
        request.bases = split_bases(bases)
    except argparse.ArgumentTypeError as error:
        raise UsageError(str(error)) from None
    request.options = MountOptions(source=parsed.base, **flags)
    if request.trace is not None:
        check_place(request.trace)
    return request


def _take_option(request: MountRequest, name: str, value: str) -> None:
    if name in _PATHS:
        setattr(request, _PATHS[name], _path(name, value))
    elif name == "engine" and value in ENGINES:
        request.engine = value
    elif name == "quota":
        request.quota = quota(value)
    elif name in _SWITCHES:
        setattr(request, _SWITCHES[name], True)
    elif name in variation_options.OPTIONS:
        try:
            request.variation = variation_options.with_option(request.variation, name, value)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"-o {name}: {error}") from None
    elif name not in _WITHOUT_EFFECT and not name.startswith("x-"):
        raise UsageError(f"-o {name}{'=' + value if value else ''} is no option that cowfs knows.")


def _options(given: list[str]) -> list[tuple[str, str]]:
    """Names and values; these with the backslashes that they were given with."""
    pairs = (option.partition("=") for text in given for option in split(text, ",") if option)
    return [(name, value) for name, _, value in pairs]


def _path(name: str, value: str) -> Path:
    if not value:
        raise UsageError(f"-o {name}= needs a path.")
    return Path(value)


def _serve(request: MountRequest, when_mounted: Callable[[], None]) -> None:
    mount = Mount(request)
    try:
        os.chdir("/")
        when_mounted()
        mount.serve_beside(_load)
        from cowfs.daemon import serving

        serving.run(mount)
    except BaseException:
        with suppress(Exception):  # what ended it is the news
            mount.close()
        raise
    mount.close()


def _load() -> None:
    """What takes longer to load than the mount takes to be made, and is not needed for its first answers."""
    with linux.known_libraries():
        import_module("cowfs.daemon.serving")


def _in_background(request: MountRequest) -> int:
    """Serve in a daemon; return when the mount answers, or say why it does not."""
    paths = {name: getattr(request, name) for name in ("mountpoint", "layer", "upper", "work", "trace")}
    absolute = {name: path.absolute() for name, path in paths.items() if path is not None}
    request = replace(request, bases=[base.absolute() for base in request.bases], **absolute)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _become_daemon(request, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = os.fsdecode(pipe.read())
    if said != "mounted":
        print(f"cowfs: {said or 'The daemon died before it could mount.'}", file=sys.stderr)
        return 1
    try:
        os.statvfs(request.mountpoint)  # waits for the engine's first answer
    except OSError as error:
        print(f"cowfs: {request.mountpoint} does not answer: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


def _open_standard_descriptors() -> None:
    """Have something at 0, 1 and 2, whatever the caller closed: else /dev/fuse or a layer would get the number."""
    while not all(map(_is_open, range(3))):
        os.open(os.devnull, os.O_RDWR)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _leave_the_caller(writer: int) -> list[int]:
    """Be no part of its session, and no victim of its settings; the descriptors that came from it."""
    os.setsid()
    # nohup(1) and shells' "&" would have it ignore what ends it.
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # What the caller holds, locks and pipes among it, is nothing to outlive him. Until then a base may be /dev/fd/9.
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2 and fd != writer and _is_open(fd)]


def _become_daemon(request: MountRequest, writer: int) -> NoReturn:
    inherited = _leave_the_caller(writer)
    status = 0

    def report(text: str) -> None:
        nonlocal writer
        if writer < 0:  # nobody listens any more
            _log.error("%s", text)
            return
        os.write(writer, os.fsencode(text))
        os.close(writer)
        writer = -1

    def detach() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        os.close(nothing)
        for fd in inherited:
            os.close(fd)
        _log_to_syslog()
        report("mounted")

    try:
        _serve(request, detach)
    except (LayerError, MountError, TraceError) as error:
        report(said(error))
        status = 1
    except OSError as error:
        report(_sentence(error))
        status = 1
    except BaseException:
        _log.exception("the daemon failed")
        status = 1
    finally:
        os._exit(status)


def _log_to_syslog() -> None:
    if os.path.exists("/dev/log"):
        import logging.handlers  # of daemons alone

        handler = logging.handlers.SysLogHandler("/dev/log", logging.handlers.SysLogHandler.LOG_DAEMON)
        handler.setFormatter(logging.Formatter("cowfs: %(message)s"))
        logging.getLogger().addHandler(handler)
