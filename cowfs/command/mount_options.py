"""What can be said to `cowfs` of a mount: its options, and those of mount(8) and overlayfs.

Everything else that mounting takes is imported when it comes to that: who asks for help waits for none of it.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from cowfs import __version__
from cowfs.command import variation_options
from cowfs.command.verbs import summary
from cowfs.daemon.engine_names import ENGINES

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


class UsageError(Exception):
    """The command line makes no sense; the text is a sentence."""


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(
        prog="cowfs",
        usage="cowfs [options] BASE[:LOWER...] MOUNTPOINT",
        description="Mount a directory copy-on-write.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known.add_argument("--version", action="version", version=f"cowfs {__version__}")
    known.add_argument("base", metavar="BASE", help="directory to show; several, topmost first, separated by colons")
    known.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path, help="existing directory to show it on")
    known.add_argument("--layer", metavar="DIR", type=Path, help="keep what is written in DIR")
    known.add_argument("--trace", metavar="FILE", type=Path, help="write to FILE at the end what was used, and how")
    known.add_argument("--sync", action="store_true", help="fsync reaches the disk (it is ignored otherwise)")
    known.add_argument("--quota", metavar="SIZE[,INODES]", type=quota, help="limit of what is written, as 4G,100000")
    known.add_argument("--engine", choices=ENGINES, default="direct", help=_ENGINE_HELP)
    known.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground; Ctrl-C unmounts")
    known.add_argument("--debug", action="store_true", help="print every request; implies -f")
    known.add_argument("-o", metavar="OPTION,...", action="append", default=[], dest="options", help="see below")
    variation_options.add_arguments(known)
    return known


def quota(text: str) -> tuple[int | None, int | None]:
    """Bytes and inodes; either may be left empty."""
    found = re.fullmatch(r"(?:(\d+)([KMGT]?)(?:i?B)?)?(?:[,:](\d+)?)?", text, re.IGNORECASE)
    if found is None or not text.strip(",:"):
        raise UsageError(f"{text!r} is no quota: give a size, a number of inodes or both, as 4G, 4G,100000 or ,100000.")
    size, unit, inodes = found.groups()
    power = " KMGT".index((unit or " ").upper())
    return (int(size) << 10 * power if size else None), (int(inodes) if inodes else None)
