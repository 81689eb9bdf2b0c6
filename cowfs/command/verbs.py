"""The verbs of `cowfs` beside mounting: what each takes, and which function does it.

A verb's function gets its parsed arguments and returns the exit code; what goes wrong it raises, and main.py says it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cowfs.base_list import split_bases

# What does it is imported where it is done: the help shows all verbs, and a daemon needs none of them.


class Verb(NamedTuple):
    """One command after `cowfs`."""

    synopsis: str
    """Its arguments, for the list in `cowfs --help`."""
    purpose: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    details: str = ""
    """What its own --help says beyond that."""


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a verb's arguments."""
    verb = VERBS[name]
    parser = argparse.ArgumentParser(
        prog=f"cowfs {name}",
        description=f"{verb.purpose[0].upper()}{verb.purpose[1:]}.",
        epilog=verb.details or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_arguments(parser)
    return parser


def summary() -> str:
    """A line for each verb."""
    return "\n".join(f"  {f'cowfs {name} {verb.synopsis}':<38}{verb.purpose}" for name, verb in VERBS.items())


def _mountpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", type=Path)


def _layer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layer", metavar="LAYER", type=Path, help="the layer's directory")


def _layer_or_mountpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="LAYER", type=Path, help="a layer's directory, or a mount point")


def _stats(parsed: argparse.Namespace) -> int:
    from cowfs.fuse.statistics import read_statistics, statistics_table

    print(statistics_table(read_statistics(parsed.mountpoint)))
    return 0


def _umount(parsed: argparse.Namespace) -> int:
    from cowfs.fuse.device import unmount

    mountpoint: Path = parsed.mountpoint
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        print(f"The daemon of {mountpoint} is gone ({error.strerror}); removing the dead mount.")
    unmount(mountpoint)
    return 0


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    from cowfs.tools import diff_text

    _layer_or_mountpoint(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--stat", dest="form", action="store_const", const=diff_text.totals, help="only the sums")
    form.add_argument(
        "--name-status",
        dest="form",
        action="store_const",
        const=diff_text.name_status,
        help="letter and path, with tabs",
    )
    form.add_argument("--json", dest="form", action="store_const", const=diff_text.as_json, help="a list of objects")
    parser.set_defaults(form=diff_text.listing)


def _diff(parsed: argparse.Namespace) -> int:
    from cowfs.daemon.mount_table import layer_of
    from cowfs.layer.view import open_views
    from cowfs.tools.diff import find_changes

    directory, mounted = layer_of(parsed.place)
    with open_views(directory, mounted=mounted) as views:
        sys.stdout.write(parsed.form(find_changes(views)))
    return 0


def _list(_: argparse.Namespace) -> int:
    from cowfs.daemon.mount_table import mounts
    from cowfs.tools import status

    print(status.table(mounts()))
    return 0


def _status(parsed: argparse.Namespace) -> int:
    from cowfs.tools import status

    print(status.describe(parsed.place))
    return 0


def _discard(parsed: argparse.Namespace) -> int:
    from cowfs.layer.directory import discard_kept

    discard_kept(parsed.layer)
    return 0


def _commit_arguments(parser: argparse.ArgumentParser) -> None:
    _layer(parser)
    parser.add_argument("base", metavar="BASE", type=Path, help="the new directory, which must not exist yet")
    parser.add_argument(
        "--in-place", action="store_true", help="BASE is the layer's own base: replace it; the layer is of no use then"
    )


def _commit(parsed: argparse.Namespace) -> int:
    from cowfs.tools import commit

    if parsed.in_place:
        commit.commit_in_place(parsed.layer, parsed.base)
    else:
        commit.commit(parsed.layer, parsed.base)
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    from cowfs.tools import export

    _layer(parser)
    parser.add_argument("--format", choices=export.FORMATS, default="tar", help="see below; default: %(default)s")
    parser.add_argument("-o", "--output", metavar="PATH", type=Path, help="instead of the standard output")


def _export(parsed: argparse.Namespace) -> int:
    from cowfs.tools import diff_text, export

    for path in export.FORMATS[parsed.format](parsed.layer, parsed.output):
        print(f"cowfs: {diff_text.shown(path)} is a socket: left out", file=sys.stderr)
    return 0


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="FILE", type=Path, help="an OCI layer (tar), an overlayfs upper directory, or -"
    )
    parser.add_argument("layer", metavar="LAYER", type=Path, help="the layer's directory, which must not exist yet")
    help_text = "what the layer is to lie over"
    parser.add_argument("--base", metavar="BASE[:LOWER...]", type=split_bases, required=True, help=help_text)


def _import(parsed: argparse.Namespace) -> int:
    from cowfs.tools import import_layer

    import_layer.import_layer(parsed.source, parsed.layer, parsed.base)
    return 0


def _snapshot_arguments(parser: argparse.ArgumentParser) -> None:
    _mountpoint(parser)
    parser.add_argument(
        "directory",
        metavar="DIR",
        type=Path,
        nargs="?",
        help="where the frozen layer goes; LAYER.1 and so on otherwise",
    )


def _snapshot(parsed: argparse.Namespace) -> int:
    from cowfs.tools import snapshot

    print(snapshot.take(parsed.mountpoint, parsed.directory))
    return 0


_EXPORT_DETAILS = """\
formats:
  tar       the whole tree, as a mount of the layer shows it
  oci       the layer's changes, as a layer of an OCI image: a tar archive with .wh. files for what was deleted
  overlay   the layer's changes, as an upper or lower directory of the kernel's overlayfs

The archives are reproducible: sorted, with numeric owners, attributes and ACLs as SCHILY.xattr records.
"""

_SNAPSHOT_DETAILS = """\
What was written so far moves to DIR, a layer that does not change any more, and the mount goes on in an empty layer,
which has the old one's name, over DIR and its bases. Who has files open notices nothing. DIR lies on the same file
system. It can be a base at once, also of other mounts:
  cowfs DIR:BASE MOUNTPOINT
"""

_DIFF_DETAILS = """\
Each line has a letter, by how much the entry grew, and its path:
  A added        M other content or type      P other mode, owner, times or attributes, same content
  D deleted      R renamed, from where to where
Of a renamed directory only what else changed in it follows. The times of directories are no change. In a path, control
characters, backslashes and bytes that are no UTF-8 are written \\ooo.
"""

VERBS = {
    "diff": Verb("LAYER", "what a layer changes, mounted or not", _diff_arguments, _diff, _DIFF_DETAILS),
    "status": Verb("LAYER", "a layer's bases, state, size and mount", _layer_or_mountpoint, _status),
    "list": Verb("", "what is mounted, and where the layers are", lambda _: None, _list),
    "commit": Verb("LAYER BASE", "merge a layer over its base into a new base", _commit_arguments, _commit),
    "export": Verb("LAYER", "a layer as tar, OCI layer or overlay", _export_arguments, _export, _EXPORT_DETAILS),
    "import": Verb("FILE LAYER --base BASE", "a layer from an OCI or overlay one", _import_arguments, _import),
    "snapshot": Verb(
        "MOUNTPOINT [DIR]", "freeze the layer, go on in a new one", _snapshot_arguments, _snapshot, _SNAPSHOT_DETAILS
    ),
    "discard": Verb("LAYER", "remove a layer that is not in use", _layer, _discard),
    "stats": Verb("MOUNTPOINT", "requests by kind, with the time they took", _mountpoint, _stats),
    "umount": Verb("MOUNTPOINT", "unmount, also when the daemon is gone", _mountpoint, _umount),
}
