"""One checksum over a whole directory tree, to show that nobody wrote into it.

`python -m setup.checksum DIRECTORY` prints it. tests/harness/snapshot.py compares trees name by name instead, to say
what differs.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

CHUNK = 1024 * 1024


def checksum(root: Path | str | bytes) -> str:
    """SHA-256 over the tree below and including `root`, as hexadecimal digits.

    Covers names, types, modes, owners, link counts, device numbers, modification times (in nanoseconds), extended
    attributes, link targets, and content. Which names are links to one file is covered too. Left out are access times,
    which reading for this checksum would change, and change times and inode numbers, which a faithful copy cannot have.

    The tree must be at rest. OSError where something cannot be read: run it as root on trees of several owners.
    """
    digest = hashlib.sha256()
    for line in described(root):
        digest.update(line)
    return digest.hexdigest()


def described(root: Path | str | bytes) -> Iterator[bytes]:
    """One line for each file, in the order of the names: compare two lists to see what differs between two trees."""
    start = os.fsencode(root)
    first_names: dict[tuple[int, int], bytes] = {}
    waiting = [(start, b".")]
    while waiting:
        path, name = waiting.pop()
        status = os.lstat(path)
        fields = [
            oct(status.st_mode).encode(),
            b"%d:%d" % (status.st_uid, status.st_gid),
            b"%d" % status.st_mtime_ns,
            _extended_attributes(path),
        ]
        if stat.S_ISDIR(status.st_mode):
            children = sorted(os.listdir(path), reverse=True)
            waiting += [(path + b"/" + child, name + b"/" + child) for child in children]
        else:
            fields.append(b"%d" % status.st_nlink)
            if status.st_nlink > 1:
                fields.append(first_names.setdefault((status.st_dev, status.st_ino), name))
            fields.append(_content(path, status))
        # Names may hold any byte but NUL, which therefore ends them.
        yield name + b"\0" + b" ".join(fields) + b"\n"


def _extended_attributes(path: bytes) -> bytes:
    attributes = sorted(os.listxattr(path, follow_symlinks=False))
    if not attributes:
        return b"-"
    digest = hashlib.sha256()
    for attribute in attributes:
        value = os.getxattr(path, attribute, follow_symlinks=False)
        digest.update(b"%s\0%d\0%s" % (os.fsencode(attribute), len(value), value))
    return digest.hexdigest().encode()


def _content(path: bytes, status: os.stat_result) -> bytes:
    if stat.S_ISLNK(status.st_mode):
        return hashlib.sha256(os.readlink(path)).hexdigest().encode()
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest().encode()
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        return b"%d:%d" % (os.major(status.st_rdev), os.minor(status.st_rdev))
    return b"-"


if __name__ == "__main__":
    print(checksum(sys.argv[1]))
