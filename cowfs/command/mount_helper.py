"""What mount(8) runs as /sbin/mount.fuse.cowfs: for `mount -t fuse.cowfs`, lines of fstab, systemd's mount units.

It takes mount(8)'s command line, mounts as `cowfs` does, and notes for mount(8) and findmnt(8) where what is written
goes: the kernel's table has no room for that.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from cowfs.base_list import join_bases, split, split_bases
from cowfs.command import main as main_module

_EXIT_USAGE, _EXIT_MOUNT_FAILED = 1, 32
_NOTED = ("lowerdir", "layer", "upperdir")
_STAGED = "acl_cache"


def main(arguments: list[str] | None = None) -> int:
    """Mount; the exit code as in mount(8)."""
    parsed = parser().parse_args(arguments)
    if parsed.fake:
        return 0
    # Of what root mounts for the machine everybody expects to see what the modes say.
    options = ["allow_other"] if os.geteuid() == 0 else []
    words = [word for option in (*options, *parsed.options) for word in ("-o", option)]
    given = [option.partition("=") for option in split(",".join(parsed.options), ",")]
    # mount -a takes for mounted what has the root "/" in the kernel's table.
    staged = any(name == _STAGED for name, _, _ in given)
    code = main_module.main([*words, "--", parsed.source, parsed.directory], staged=staged)
    if code == 0:
        _note(parsed.directory, [(name, value) for name, _, value in given if name in _NOTED])
        return 0
    return _EXIT_USAGE if code == 2 else _EXIT_MOUNT_FAILED


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(
        prog="mount.fuse.cowfs",
        description="Called by mount(8): mount -t fuse.cowfs BASE DIRECTORY -o layer=DIR. Options: cowfs --help.",
        allow_abbrev=False,
    )
    known.add_argument("source", metavar="BASE")
    known.add_argument("directory", metavar="DIRECTORY")
    known.add_argument("-o", metavar="OPTION,...", action="append", default=[], dest="options")
    known.add_argument("-f", dest="fake", action="store_true", help="do not mount")
    known.add_argument("-t", dest="kind", help=argparse.SUPPRESS)
    for ignored in ("-n", "-s", "-v"):
        known.add_argument(ignored, action="store_true", help=argparse.SUPPRESS)
    return known


def _note(directory: str, given: list[tuple[str, str]]) -> None:
    """Have mount(8) add to its own table what it shows beside the kernel's options; no matter where it cannot."""
    if given and os.geteuid() == 0:
        options = ",".join(f"x-cowfs.{name}={_absolute(name, value)}" for name, value in given)
        # With --fake nothing is mounted; --bind makes it look up what is mounted there. A helper may have no PATH.
        command = ["/bin/mount", "--internal-only", "--fake", "--bind", "-o", options, directory, directory]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _absolute(name: str, value: str) -> str:
    """The value of an option for the table, where who reads it has another current directory."""
    if name != "lowerdir":
        return os.path.abspath(value)
    return join_bases([base.absolute() for base in split_bases(value)]).replace(",", "\\,")


if __name__ == "__main__":
    sys.exit(main())
