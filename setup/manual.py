"""Writes the manual pages: `python3 -m setup.manual DIRECTORY`. help2man makes each from the --help of a command.

A verb has a page of its own, as git's have: cowbuild-build(1).
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from builder.command import options
from builder.interop import autopkgtest, cowbuilder, unschroot
from cowfs import __version__
from cowfs.command import mount_helper
from cowfs.command.main import parsers as parsers_of_cowfs

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

ABOUT = {
    "cowfs": "mount a directory copy-on-write",
    "cowbuild": "build Debian packages in throw-away copy-on-write sessions",
    "mount.fuse.cowfs": "mount a directory copy-on-write, called by mount(8)",
    "autopkgtest-virt-cowfs": "copy-on-write sessions as testbeds, called by autopkgtest(1)",
    "cowbuild-cowbuilder": "cowbuilder(8) in throw-away copy-on-write sessions",
    "cowbuild-schroot": "throw-away copy-on-write sessions for sbuild(1), without root",
}

SECTIONS = {"cowbuilder": 8, "pbuilder": 8, "mount.fuse.cowfs": 8, "mount.fuse3": 8, "mount": 8}
"""Where that is not 1."""

SEE_ALSO = {
    "cowfs": ["cowbuild", "mount.fuse.cowfs", "mount.fuse3"],
    "cowbuild": ["cowfs", "autopkgtest-virt-cowfs", "mmdebstrap", "sbuild"],
    "mount.fuse.cowfs": ["cowfs", "mount"],
    "autopkgtest-virt-cowfs": ["cowbuild", "autopkgtest"],
    "cowbuild-cowbuilder": ["cowbuild", "cowbuilder", "pbuilder", "pdebuild"],
    "cowbuild-schroot": ["cowbuild", "sbuild", "schroot"],
}

FILES = """\
[FILES]
.TP
.I /etc/cowfs/cowbuild.toml, ~/.config/cowfs/cowbuild.toml
What the machine and the user have configured; see cowbuild-config(1).
.TP
.I /var/lib/cowfs/bases, ~/.local/share/cowfs/bases
Root's and a user's bases.
.TP
.I /var/cache/cowfs, ~/.cache/cowfs
Installed build dependencies and downloaded packages, kept for other builds.
.TP
.I /var/lib/cowfs/sessions, ~/.local/state/cowfs/sessions
Kept sessions.

[EXIT STATUS]
Of a build: 0 successful or skipped, 1 failed, 2 attempted (the package's build failed), 3 given back (the package is
not to blame). Otherwise 0, or 1 where it could not be done, or 2 where the command line makes no sense.

"""


def pages() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Name of the page -> what it is about, and the parser."""
    found = {"cowfs": (ABOUT["cowfs"], parsers_of_cowfs()[""])}
    for verb, parser in parsers_of_cowfs().items():
        if verb:
            found[f"cowfs-{verb}"] = (_sentence(parser.description or verb), parser)
    top = options.parser()
    found["cowbuild"] = (ABOUT["cowbuild"], top)
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                # An alias is in brackets behind the name.
                verb = choice.dest.split()[0]
                found[f"cowbuild-{verb}"] = (_sentence(choice.help or verb), action.choices[verb])
    for name, parser in (
        ("mount.fuse.cowfs", mount_helper.parser()),
        ("autopkgtest-virt-cowfs", autopkgtest.parser()),
        ("cowbuild-cowbuilder", cowbuilder.parser()),
        ("cowbuild-schroot", unschroot.parser()),
    ):
        found[name] = (ABOUT[name], parser)
    return found


def _sentence(text: str) -> str:
    return (text[0].lower() + text[1:]).rstrip(".").replace("\n", " ")


def write(directory: Path) -> None:
    # Else the lines are as long as the terminal of whoever calls.
    os.environ["COLUMNS"] = "80"
    all_pages = pages()
    version = __version__
    with tempfile.TemporaryDirectory() as place:
        for name, (about, parser) in all_pages.items():
            section = SECTIONS.get(name, 1)
            # help2man runs a command of the page's name.
            command, more = Path(place) / name, Path(place) / f"{name}.h2m"
            command.write_text(f"#!/bin/sh\nprintf %s {shlex.quote(_as_gnu(parser.format_help()))}\n")
            command.chmod(0o755)
            more.write_text((FILES if name == "cowbuild" else "") + _see_also(name, all_pages))
            subprocess.run(
                [
                    *("help2man", "--no-info", f"--section={section}", f"--name={about}"),
                    *(f"--version-string={version}", f"--source=cowfs {version}", f"--include={more}"),
                    *(f"--output={directory / name}.{section}", command),
                ],
                check=True,
            )


def _as_gnu(text: str) -> str:
    """Help with the headings that help2man looks for."""
    text = text.replace("usage: ", "Usage: ", 1).replace("\npositional arguments:\n", "\nArguments:\n")
    return re.sub(r"^([a-z])(.*:)$", lambda match: match[1].upper() + match[2], text, flags=re.MULTILINE)


def _see_also(name: str, all_pages: Mapping[str, object]) -> str:
    if name in ABOUT:
        others = [other for other in all_pages if other not in ABOUT and other.startswith(f"{name}-")] + SEE_ALSO[name]
    else:
        others = [name.partition("-")[0]]
    links = ", ".join(f".BR {other} ({SECTIONS.get(other, 1)})" for other in others)
    return "[SEE ALSO]\n" + links.replace("), ", "),\n") + "\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
