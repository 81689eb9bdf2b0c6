"""The command ``cowfs``: what the user types becomes a MountRequest, what goes wrong becomes one sentence."""

import argparse
import logging
import logging.handlers
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import trio

from cowfs import conditions
from cowfs.fuse.device import MountError, MountOptions, unmount
from cowfs.fuse.engine import NoStatisticsError, read_statistics, statistics_table
from cowfs.layers import LayerError
from cowfs.mount import ENGINES, Mount, MountRequest
from cowfs.trace import TraceError, check_place

_EPILOG = f"""\
The base is never changed. What is written to MOUNTPOINT goes to the layer, which is temporary unless --layer names a
directory to keep it in; that can be mounted again later, over the same base. umount MOUNTPOINT ends the session.

options of -o, as mount(8) and overlayfs have them:
  layer=DIR sync engine=NAME            as --layer, --sync, --engine
  trace=FILE                            as --trace
  lowerdir=TOP:LOWER upperdir=DIR workdir=DIR userxattr    overlayfs's; BASE is then only a name
  allow_other                           let other users in (the kernel checks modes and ACLs in any case)
  ro nosuid nodev noexec noatime        as ever
{conditions.EPILOG}
other commands:
  cowfs stats MOUNTPOINT                requests by kind, with the time they took
  cowfs umount MOUNTPOINT               unmount, also when the daemon is gone
"""

_log = logging.getLogger("cowfs")

# Taken because mount(8), fstab or overlayfs habits bring them; they ask for nothing that is not so anyway.
_WITHOUT_EFFECT = {
    *("rw", "suid", "dev", "exec", "atime", "relatime", "strictatime", "diratime", "nodiratime", "async", "defaults"),
    *("auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "default_permissions"),
    *("redirect_dir", "index", "metacopy", "xino", "volatile", "nfs_export", "uuid", "verity", "comment", "fsname"),
}
_PATHS = {"trace": "trace", "layer": "layer", "upperdir": "upper", "workdir": "work"}
_SWITCHES = {"sync": "durable", "userxattr": "user_marks"}
_FLAGS = {"allow_other": "allow_other", "ro": "read_only"} | {
    name: name for name in ("nosuid", "nodev", "noexec", "noatime")
}


class UsageError(Exception):
    """The command line makes no sense; the text is a sentence."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code. 1: it could not be done, 2: the command line makes no sense."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verb = _VERBS.get(arguments[0]) if arguments else None
    try:
        return verb(arguments[1:]) if verb is not None else _mount(arguments)
    except UsageError as error:
        print(f"cowfs: {error}\nTry: cowfs --help", file=sys.stderr)
        return 2
    except (LayerError, MountError, NoStatisticsError, TraceError) as error:
        print(f"cowfs: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cowfs",
        usage="cowfs [options] BASE[:LOWER...] MOUNTPOINT",
        description="Mount a directory copy-on-write.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", metavar="BASE", help="directory to show; several, topmost first, separated by colons")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path, help="existing directory to show it on")
    parser.add_argument("--layer", metavar="DIR", type=Path, help="keep what is written in DIR")
    parser.add_argument("--trace", metavar="FILE", type=Path, help="write to FILE at the end what was used, and how")
    parser.add_argument("--sync", action="store_true", help="fsync reaches the disk (it is ignored otherwise)")
    parser.add_argument("--engine", choices=ENGINES, default="direct", help="default: %(default)s")
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground; Ctrl-C unmounts")
    parser.add_argument("--debug", action="store_true", help="print every request; implies -f")
    parser.add_argument("-o", metavar="OPTION,...", action="append", default=[], dest="options", help="see below")
    conditions.add_arguments(parser)
    return parser


def _mount(arguments: list[str]) -> int:
    parsed = _parser().parse_args(arguments)
    request = _request(parsed)
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
    request.trace = parsed.trace
    request.variation = conditions.from_arguments(parsed)
    bases: str = parsed.base
    flags: dict[str, Any] = {}
    for name, value in _options(parsed.options):
        if name == "lowerdir":
            bases = value
        elif name in _FLAGS:
            flags[_FLAGS[name]] = True
        else:
            _take_option(request, name, value)
    if request.layer is not None and request.upper is not None:
        raise UsageError("A layer and upperdir= are two places to write to: give one of them.")
    if request.work is not None and request.upper is None:
        raise UsageError("workdir= goes with upperdir=.")
    if "" in (paths := _split(bases, ":")):
        raise UsageError(f"{bases!r} names no base.")
    request.bases = [Path(path) for path in paths]
    request.options = MountOptions(source=bases, **flags)
    if request.trace is not None:
        check_place(request.trace)
    return request


def _take_option(request: MountRequest, name: str, value: str) -> None:
    if name in _PATHS:
        setattr(request, _PATHS[name], _path(name, value))
    elif name == "engine" and value in ENGINES:
        request.engine = value
    elif name in _SWITCHES:
        setattr(request, _SWITCHES[name], True)
    elif name in conditions.OPTIONS:
        try:
            request.variation = conditions.with_option(request.variation, name, value)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"-o {name}: {error}") from None
    elif name not in _WITHOUT_EFFECT and not name.startswith("x-"):
        raise UsageError(f"-o {name}{'=' + value if value else ''} is no option that cowfs knows.")


def _options(given: list[str]) -> list[tuple[str, str]]:
    pairs = (option.partition("=") for text in given for option in _split(text, ",") if option)
    return [(name, value) for name, _, value in pairs]


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that no backslash precedes, as overlayfs does."""
    parts = [""]
    escaped = False
    for character in text:
        if escaped:
            parts[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == separator:
            parts.append("")
        else:
            parts[-1] += character
    return parts


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
    finally:
        mount.close()


def _in_background(request: MountRequest) -> int:
    """Serve in a daemon; return when the mount answers, or say why it does not."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _become_daemon(request, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode(errors="replace")
    if said != "mounted":
        print(f"cowfs: {said or 'The daemon died before it could mount.'}", file=sys.stderr)
        return 1
    try:
        os.statvfs(request.mountpoint)  # waits for the engine's first answer
    except OSError as error:
        print(f"cowfs: {request.mountpoint} does not answer: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


def _become_daemon(request: MountRequest, writer: int) -> NoReturn:
    os.setsid()
    request = replace(
        request,
        bases=[base.absolute() for base in request.bases],
        mountpoint=request.mountpoint.absolute(),
        trace=None if request.trace is None else request.trace.absolute(),
    )
    status = 0

    def report(text: str) -> None:
        os.write(writer, text.encode())
        os.close(writer)

    def detach() -> None:
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        os.close(nothing)
        _log_to_syslog()
        report("mounted")

    try:
        _serve(request, detach)
    except (LayerError, MountError) as error:
        report(str(error))
        status = 1
    except TraceError as error:
        _log.error("%s", error)
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


def _stats(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="cowfs stats", description="What the engine behind a mount counted.")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path)
    print(statistics_table(read_statistics(parser.parse_args(arguments).mountpoint)))
    return 0


def _umount(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="cowfs umount", description="Unmount, also when the daemon is gone.")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path)
    mountpoint: Path = parser.parse_args(arguments).mountpoint
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        print(f"The daemon of {mountpoint} is gone ({error.strerror}); removing the dead mount.")
    unmount(mountpoint)
    return 0


_VERBS: dict[str, Callable[[list[str]], int]] = {"stats": _stats, "umount": _umount}


if __name__ == "__main__":
    sys.exit(main())
