"""The command `cowfs`: what the user types becomes a MountRequest, what goes wrong becomes one sentence.

The other verbs, with their parsers, are in verbs.py; `parsers` has those of all.
"""

from __future__ import annotations

import argparse
import io
import logging
import logging.handlers
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import trio

from cowfs import __version__, endings
from cowfs.base_list import split, split_bases, unescaped
from cowfs.command import variation_options
from cowfs.command.verbs import VERBS, parser_of, summary
from cowfs.daemon import elsewhere
from cowfs.daemon.mount import ENDING_SIGNALS, Mount
from cowfs.daemon.request import ENGINES, MountRequest
from cowfs.daemon.trace_file import TraceError, check_place
from cowfs.fuse.device import MountError, MountOptions
from cowfs.fuse.statistics import NoStatisticsError
from cowfs.layer.lock import LayerInUseError
from cowfs.layer.metadata import LayerError

_ENGINE_HELP = "device: as direct, the default, but never over io_uring; pyfuse3: for comparison"
_EPILOG = f"""\
The base is never changed. What is written to MOUNTPOINT goes to the layer, which is temporary unless --layer names a
directory to keep it in; that can be mounted again later, over the same base. umount MOUNTPOINT ends the session.

options of -o, as mount(8) and overlayfs have them:
  layer=DIR sync engine=NAME quota=SIZE[:INODES]    as --layer, --sync, --engine, --quota
  trace=FILE                            as --trace
  lowerdir=TOP:LOWER upperdir=DIR workdir=DIR userxattr    overlayfs's; BASE is then only a name
  allow_other                           let other users in (the kernel checks modes and ACLs in any case)
  ro nosuid nodev noexec noatime        as ever
{variation_options.EPILOG}
other commands, each with --help (a base of such a name is written ./NAME):
{summary()}
"""

_log = logging.getLogger("cowfs")

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


class UsageError(Exception):
    """The command line makes no sense; the text is a sentence."""


def main(arguments: list[str] | None = None, *, staged: bool = True) -> int:
    """Run the command; the exit code. 1: it could not be done, 2: the command line makes no sense.

    `staged`: as in MountRequest.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or nobody learns how a program ended, wait(2)
    return endings.run("cowfs", lambda: _main(words, staged=staged))


def _main(arguments: list[str], *, staged: bool) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files are bytes
    verb = VERBS.get(arguments[0]) if arguments else None
    try:
        if verb is None:
            return _mount(arguments, staged=staged)
        return verb.run(parser_of(arguments[0]).parse_args(arguments[1:]))
    except UsageError as error:
        print(f"cowfs: {error}\nTry: cowfs --help", file=sys.stderr)
        return 2
    except (LayerError, MountError, NoStatisticsError, TraceError) as error:
        print(f"cowfs: {_said(error)}", file=sys.stderr)
        return 1


def _said(error: Exception) -> str:
    return elsewhere.sentence(error) if isinstance(error, LayerInUseError) else str(error)


def _sentence(error: OSError) -> str:
    name = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
    return f"{name}{error.strerror or error}"


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each verb by its name, and that of mounting, which has none, as ""."""
    return {"": _parser(), **{name: parser_of(name) for name in VERBS}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cowfs",
        usage="cowfs [options] BASE[:LOWER...] MOUNTPOINT",
        description="Mount a directory copy-on-write.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cowfs {__version__}")
    parser.add_argument("base", metavar="BASE", help="directory to show; several, topmost first, separated by colons")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path, help="existing directory to show it on")
    parser.add_argument("--layer", metavar="DIR", type=Path, help="keep what is written in DIR")
    parser.add_argument("--trace", metavar="FILE", type=Path, help="write to FILE at the end what was used, and how")
    parser.add_argument("--sync", action="store_true", help="fsync reaches the disk (it is ignored otherwise)")
    parser.add_argument("--quota", metavar="SIZE[,INODES]", type=_quota, help="limit of what is written, as 4G,100000")
    parser.add_argument("--engine", choices=ENGINES, default="direct", help=_ENGINE_HELP)
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground; Ctrl-C unmounts")
    parser.add_argument("--debug", action="store_true", help="print every request; implies -f")
    parser.add_argument("-o", metavar="OPTION,...", action="append", default=[], dest="options", help="see below")
    variation_options.add_arguments(parser)
    return parser


def _mount(arguments: list[str], *, staged: bool) -> int:
    parsed = _parser().parse_args(arguments)
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
        request.quota = _quota(value)
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


def _quota(text: str) -> tuple[int | None, int | None]:
    """Bytes and inodes; either may be left empty."""
    found = re.fullmatch(r"(?:(\d+)([KMGT]?)(?:i?B)?)?(?:[,:](\d+)?)?", text, re.IGNORECASE)
    if found is None or not text.strip(",:"):
        raise UsageError(f"{text!r} is no quota: give a size, a number of inodes or both, as 4G, 4G,100000 or ,100000.")
    size, unit, inodes = found.groups()
    power = " KMGT".index((unit or " ").upper())
    return (int(size) << 10 * power if size else None), (int(inodes) if inodes else None)


def _path(name: str, value: str) -> Path:
    if not value:
        raise UsageError(f"-o {name}= needs a path.")
    return Path(value)


def _serve(request: MountRequest, when_mounted: Callable[[], None]) -> None:
    mount = Mount(request)
    try:
        os.chdir("/")
        when_mounted()
        trio.run(mount.serve)
    except BaseException:
        with suppress(Exception):  # what ended it is the news
            mount.close()
        raise
    mount.close()


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
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:  # it served the listing of /proc/self/fd
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
        report(_said(error))
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
        handler = logging.handlers.SysLogHandler("/dev/log", logging.handlers.SysLogHandler.LOG_DAEMON)
        handler.setFormatter(logging.Formatter("cowfs: %(message)s"))
        logging.getLogger().addHandler(handler)


if __name__ == "__main__":
    sys.exit(main())
