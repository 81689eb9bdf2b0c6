"""Removing a directory in which a build did what it liked."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

# What is mounted there stays. To rm(1) a subvolume of btrfs is another file system, too, and any user can make one, and
# make it read-only. Its root always has the number 256; the innermost must go first.
REMOVE = r"""
remove() {
    rm -rf --one-file-system -- "$@" 2>/dev/null && return
    find "$@" -type d \( -exec mountpoint -q {} \; -prune -o -inum 256 -print0 \) 2>/dev/null | sort -rz |
        xargs -0r -n 1 sh -c 'btrfs property set -f "$1" ro false 2>/dev/null; rm -rf --one-file-system -- "$1"' sh
    rm -rf --one-file-system -- "$@"
}
"""
"""A function for the shell."""


def remove(directory: Path, before: Sequence[str] = ()) -> bool:
    """Remove a directory by a command that begins with the words `before`; whether it is gone. Why not, says stderr."""
    command: list[str | Path] = [*before, "sh", "-c", f'{REMOVE}\nremove "$@"', "remove", directory]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0
