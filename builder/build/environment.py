"""What a build is made with, in its log: the kernel, and the versions of what is installed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from builder import hostile_tree
from builder.build.job import Job
from builder.debian import dpkg_database
from builder.problems import printable

# sbuild's: $toolchain_regex.
TOOLCHAIN = re.compile(r"(binutils|dpkg-dev|gcc-[\d.]+|g\+\+-[\d.]+|libstdc\+\+.*|libc[\d.]+-dev|linux-libc-dev)_.*")

# Each is looked for by itself, so that no text, whoever wrote it, takes long.
PACKAGE, VERSION = (re.compile(rb"^%s: (\S+)$" % name, re.MULTILINE) for name in (b"Package", b"Version"))


def show(job: Job) -> None:
    """Without a command in the session, since every build goes through this."""
    job.log.section("Build environment")
    system = os.uname()
    job.log.line(f"Kernel: {system.sysname} {system.release} {job.architecture} ({system.machine})")
    try:
        with hostile_tree.directory(job.session.root, "var/lib/dpkg") as place:
            status = hostile_tree.read(place, "status", dpkg_database.LIMIT)
    except OSError as error:
        job.log.line(f"W: what is installed cannot be told: {error}")
        return
    installed = sorted(_installed(status))
    job.installed = tuple(installed)
    job.log.line(f"Toolchain package versions: {' '.join(filter(TOOLCHAIN.fullmatch, installed))}")
    job.log.line(f"Package versions: {' '.join(installed)}")


def _installed(status: bytes) -> Iterator[str]:
    for paragraph in status.split(b"\n\n"):
        package, version = PACKAGE.search(paragraph), VERSION.search(paragraph)
        if b" ok installed\n" in paragraph and package is not None and version is not None:
            yield printable(b"_".join((package[1], version[1])).decode(errors="replace"))
