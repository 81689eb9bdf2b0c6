"""A chroot of schroot (and so of sbuild) whose sessions are mounts of cowfs: its entry, and the profile it refers to.

The profile, files for schroot's own scripts, is in schroot_profile beside this module.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib import resources
from pathlib import Path

from builder.debian import architectures, base_facts
from builder.problems import Misuse, Problem
from builder.store import bases
from builder.user_namespace import is_machine_root

SETTINGS = Path("/etc/schroot")
PROFILE = "cowfs"
MOUNT_HELPER = "mount.fuse.cowfs"

MADE_BY = "# Made by cowbuild schroot-config, which replaces it when asked for this chroot again."

ENTRY = """\
{made_by}
[{name}]
description={suite} {architecture}, each session a copy-on-write mount of cowfs
type=directory
directory={directory}
profile={profile}
# Becomes fuse.cowfs in {settings}/{profile}/config: schroot's list of union types is closed.
union-type=overlay
groups=root,sbuild
root-groups=root,sbuild
source-root-groups=root,sbuild
"""


def entry(text: str, name: str | None, quota: str | None) -> tuple[str, str]:
    """The name of the chroot and its entry for a base, which stays right when the base is updated.

    `text` is what the user calls the base. Problem when there is none, or no name for its chroot.
    """
    tree = bases.find(text)
    suite, architecture = base_facts.code_name(tree), base_facts.architecture(tree)
    if name is None:
        # With a directory's, sbuild --dist finds it.
        name = f"{suite}-{architecture}" if bases.is_path(text) else text
    if not bases.NAME.fullmatch(name):
        raise Misuse(f"{name!r} cannot be the name of a chroot", "Letters, digits and + . _ - only.")
    content = ENTRY.format(
        made_by=MADE_BY,
        name=name,
        suite=suite,
        architecture=architecture,
        directory=tree if bases.is_path(text) else bases.bases_directory() / text / "current",
        profile=PROFILE,
        settings=SETTINGS,
    )
    if personality := architectures.personality(architecture):
        content += f"personality={personality}\n"
    if quota:
        content += f"cowfs.quota={quota.replace(',', ':')}\n"  # becomes one option of a mount
    return name, content


def install(name: str, content: str) -> list[Path]:
    """Write the chroot's entry and the profile; the files that were written. Problem when that cannot be."""
    if not is_machine_root():
        raise Problem("Only root can set up schroot", "Without --install the entry is printed.")
    chroots = SETTINGS / "chroot.d"
    if not chroots.is_dir():
        raise Problem(f"schroot is not installed: there is no {chroots}", "apt-get install schroot")
    target = chroots / name
    if target.exists() and MADE_BY not in target.read_text(errors="replace"):
        raise Problem(f"{target} exists, and was not made by cowbuild", "Give the chroot another --name.")
    wanted = {target: content}
    for file in resources.files("builder.interop").joinpath("schroot_profile").iterdir():
        # A profile that is there may have been adapted to the machine.
        if not (SETTINGS / PROFILE / file.name).exists():
            wanted[SETTINGS / PROFILE / file.name] = file.read_text()
    try:
        (SETTINGS / PROFILE).mkdir(exist_ok=True)
        for path, text in wanted.items():
            unfinished = path.with_name(f".{path.name}.new")
            unfinished.write_text(text)
            unfinished.replace(path)
    except OSError as error:
        raise Problem(f"Cannot write {error.filename}: {error.strerror}") from None
    return sorted(wanted)


def check_mount_helper() -> None:
    """Problem when mount(8) would not find cowfs."""
    if not any((directory / MOUNT_HELPER).exists() for directory in (Path("/sbin"), Path("/usr/sbin"))):
        ours = Path(sys.executable).with_name(MOUNT_HELPER)
        found = ours if ours.exists() else shutil.which(MOUNT_HELPER) or MOUNT_HELPER
        raise Problem(
            f"mount(8) does not find cowfs: there is no /sbin/{MOUNT_HELPER}", f"ln -s {os.fspath(found)} /sbin/"
        )
