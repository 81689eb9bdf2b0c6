"""pyfuse3's names of types, and the union's values as pyfuse3 wants them."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pyfuse3
from pyfuse3 import EntryAttributes

from cowfs.fuse.protocol.messages import FOREVER
from cowfs.union.attrs import Attributes, Caller, Changer, Changes

if TYPE_CHECKING:
    from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT, XAttrNameT
else:
    # They are no more than these at run time, and pyfuse3 3.2, which Debian 12 has, lacks the names.
    FileHandleT = FlagT = InodeT = ModeT = int
    FileNameT = XAttrNameT = bytes

__all__ = ["FileHandleT", "FileNameT", "FlagT", "InodeT", "ModeT", "XAttrNameT"]
__all__ += ["attribute_changes", "caller_of", "changer_of", "entry_attributes", "negative_entry"]


def entry_attributes(attributes: Attributes) -> EntryAttributes:
    """For ever valid, as in messages.entry."""
    entry = EntryAttributes()
    entry.generation = 0
    entry.entry_timeout = entry.attr_timeout = FOREVER
    entry.st_ino = InodeT(attributes.ino)
    entry.st_mode = ModeT(attributes.mode)
    entry.st_nlink = attributes.nlink
    entry.st_uid = attributes.uid
    entry.st_gid = attributes.gid
    entry.st_rdev = attributes.rdev
    entry.st_size = attributes.size
    entry.st_blocks = attributes.blocks
    entry.st_blksize = attributes.blksize
    entry.st_atime_ns = attributes.atime_ns
    entry.st_mtime_ns = attributes.mtime_ns
    entry.st_ctime_ns = attributes.ctime_ns
    return entry


def negative_entry() -> EntryAttributes:
    """The name does not exist, and that may be remembered."""
    entry = EntryAttributes()
    entry.st_ino = InodeT(0)
    entry.entry_timeout = FOREVER
    return entry


def attribute_changes(attr: EntryAttributes, fields: pyfuse3.SetattrFields, *, privileged: bool) -> Changes:
    """pyfuse3 has turned a time of "now" into the time it read the clock.

    Nothing to change is chown(path, -1, -1): what is left of it is that it clears setuid and setgid.
    """
    wanted = Changes()
    if fields.update_mode:
        wanted.mode = stat.S_IMODE(attr.st_mode)
    if fields.update_uid:
        wanted.uid = attr.st_uid
    if fields.update_gid:
        wanted.gid = attr.st_gid
    if fields.update_size:
        wanted.size = attr.st_size
    if fields.update_atime:
        wanted.atime_ns = attr.st_atime_ns
    if fields.update_mtime:
        wanted.mtime_ns = attr.st_mtime_ns
    chown = fields.update_uid or fields.update_gid
    wanted.kill_privileges = chown or (fields.update_size and not privileged) or wanted == Changes()
    return wanted


def caller_of(ctx: pyfuse3.RequestContext) -> Caller:
    return Caller(ctx.uid, ctx.gid, ctx.umask)


def changer_of(ctx: pyfuse3.RequestContext) -> Changer:
    return Changer(ctx.uid, ctx.gid, ctx.pid)
