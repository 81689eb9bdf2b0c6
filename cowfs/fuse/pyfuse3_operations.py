"""The pyfuse3 engine's requests: a method each, as pyfuse3 calls them.

A file handle is the node's number, and whether it was opened with O_DIRECT: pyfuse3 gives read, write and readdir
nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NoReturn, TypeVar, cast

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError

from cowfs.fuse.delay import Again, Read, Sync, TakesLongError, may_only_look_full
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.observer import NO_NODE, Observer, SeenRequest
from cowfs.fuse.protocol import abi
from cowfs.fuse.protocol.messages import opcode_name
from cowfs.fuse.protocol.opcodes import Opcode
from cowfs.fuse.pyfuse3_values import (
    FileHandleT,
    FileNameT,
    FlagT,
    InodeT,
    ModeT,
    XAttrNameT,
    attribute_changes,
    caller_of,
    changer_of,
    entry_attributes,
    negative_entry,
)
from cowfs.fuse.slow import SlowWork
from cowfs.fuse.statistics import STATISTICS_NAME
from cowfs.union import data, dirs, files, rename, xattrs
from cowfs.union.attrs import Attributes, Changer, Changes, get_attributes, set_attributes, statfs
from cowfs.union.copyup import CopyUpNeeded
from cowfs.union.lookup import lookup
from cowfs.union.nodes import Directory, Node
from cowfs.union.readdir import note_reading, read_directory
from cowfs.union.readdir_order import OrderedDirectories
from cowfs.union.tree import Tree

Result = TypeVar("Result")
Context = pyfuse3.RequestContext

_DIRECT = 1 << 32
"""Beside the node's number, which has 32 bits, in the handle of a file opened with O_DIRECT."""
_PAGES_GO_SECONDS = 0.5

_log = logging.getLogger("cowfs")


async def _shielded(work: Awaitable[Result]) -> Result:
    with trio.CancelScope(shield=True):
        return await work
    raise AssertionError("nobody cancels this scope")


class PyfuseOperations(pyfuse3.Operations):
    supports_dot_lookup = False
    enable_acl = True
    enable_writeback_cache = False

    def __init__(self, tree: Tree, settings: EngineSettings) -> None:
        super().__init__()
        self._tree = tree
        self._settings = settings
        self._slow = SlowWork(tree)
        listed = tree.variation.readdir_order
        self._ordered = None if listed is None else OrderedDirectories(tree, listed)
        self._open_directories: dict[int, int] = {}
        """The directory of a handle, where the order of listings was asked for; else the handle is its number."""
        self._written_by_users: dict[int, Changer] = {}
        """Nodes that others than root opened for writing, and who did: a write does not say who writes."""
        self._observer = None if settings.uses is None else Observer(tree, settings.uses)
        tree.on_stale = _forget_attributes

    async def _do(
        self, opcode: Opcode, operation: Callable[[], Result], seen: SeenRequest = NO_NODE, *numbers: int
    ) -> Result:
        """Every request passes here. The operation runs at once, or after a copy-up in a thread; its OSError is the
        reply's errno; it is counted and, with --debug, described by `seen` and further `numbers` of it.
        """
        counters = self._settings.counters
        if self._observer is not None:
            operation = partial(self._observer.watch, opcode, seen, operation)
        started = time.perf_counter_ns()
        outcome = "done"
        try:
            try:
                return operation()
            except TakesLongError as slow:
                counters.slow += 1
                return cast(Result, await _shielded(self._slow.do(slow.delay)))
            except (CopyUpNeeded, OSError) as problem:
                if isinstance(problem, OSError) and not may_only_look_full(self._tree, problem):
                    raise
                counters.slow += 1
                return cast(Result, await _shielded(self._slow.do(Again(operation, problem))))
        except (OSError, FUSEError) as error:
            number = error.errno or errno.EIO
            outcome = errno.errorcode.get(number, str(number))
            raise FUSEError(number) from None
        except Exception as error:
            # A defect in cowfs: the caller gets EIO, the log one line, and --debug the traceback.
            _log.error("%s failed unexpectedly: %s: %s", opcode_name(opcode), type(error).__name__, error)
            outcome = "".join(traceback.format_exception(error))
            raise FUSEError(errno.EIO) from None
        finally:
            counters.requests[opcode] += 1
            counters.nanoseconds[opcode] += time.perf_counter_ns() - started
            if self._settings.debug is not None:
                words = (seen.number, *seen.names, seen.other, *numbers)
                self._settings.debug(f"{opcode.name} {' '.join(map(str, words))} -> {outcome}")

    def _node(self, number: int) -> Node:
        return self._tree.nodes.get(number)

    def _directory(self, number: int) -> Directory:
        node = self._node(number)
        if not isinstance(node, Directory):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return node

    def _entry(self, node: Node) -> EntryAttributes:
        """The reply for a name that now leads to this node."""
        return self._new_entry((node, get_attributes(self._tree, node)))

    def _new_entry(self, made: tuple[Node, Attributes]) -> EntryAttributes:
        """The reply for a name that was just made."""
        node, attributes = made
        node.lookups += 1
        return entry_attributes(attributes)

    # Names

    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            try:
                return self._entry(lookup(self._tree, self._directory(parent_inode), name))
            except FileNotFoundError:
                return negative_entry()

        return await self._do(Opcode.LOOKUP, operation, SeenRequest(parent_inode, names=(name,)))

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for number, count in inode_list:
            self._written_by_users.pop(number, None)  # only after the last close
            with contextlib.suppress(FUSEError):  # nobody waits for an answer
                await self._do(Opcode.FORGET, partial(self._tree.nodes.forget, number, count), SeenRequest(number))

    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: Context
    ) -> EntryAttributes:
        def operation() -> EntryAttributes:
            directory = self._directory(parent_inode)
            return self._new_entry(files.mknod(self._tree, directory, name, mode, rdev, caller_of(ctx)))

        return await self._do(Opcode.MKNOD, operation, SeenRequest(parent_inode, names=(name,)))

    async def mkdir(self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            return self._new_entry(dirs.mkdir(self._tree, self._directory(parent_inode), name, mode, caller_of(ctx)))

        return await self._do(Opcode.MKDIR, operation, SeenRequest(parent_inode, names=(name,)))

    async def symlink(self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            return self._new_entry(
                files.symlink(self._tree, self._directory(parent_inode), name, target, caller_of(ctx))
            )

        return await self._do(Opcode.SYMLINK, operation, SeenRequest(parent_inode, names=(name,)))

    async def link(self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            node = self._node(inode)
            files.link(self._tree, node, self._directory(new_parent_inode), new_name)
            return self._entry(node)

        return await self._do(Opcode.LINK, operation, SeenRequest(new_parent_inode, inode, (new_name,)))

    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: Context) -> None:
        def operation() -> None:
            files.unlink(self._tree, self._directory(parent_inode), name)

        await self._do(Opcode.UNLINK, operation, SeenRequest(parent_inode, names=(name,)))

    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: Context) -> None:
        def operation() -> None:
            dirs.rmdir(self._tree, self._directory(parent_inode), name)

        await self._do(Opcode.RMDIR, operation, SeenRequest(parent_inode, names=(name,)))

    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: Context,
    ) -> None:
        def operation() -> None:
            old = self._directory(parent_inode_old), bytes(name_old)
            new = self._directory(parent_inode_new), bytes(name_new)
            rename.rename(self._tree, old, new, flags)

        await self._do(
            Opcode.RENAME2, operation, SeenRequest(parent_inode_old, parent_inode_new, (name_old, name_new)), flags
        )

    async def readlink(self, inode: InodeT, ctx: Context) -> FileNameT:
        return FileNameT(
            await self._do(Opcode.READLINK, lambda: files.readlink(self._tree, self._node(inode)), SeenRequest(inode))
        )

    # Attributes

    async def getattr(self, inode: InodeT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            return entry_attributes(get_attributes(self._tree, self._node(inode)))

        return await self._do(Opcode.GETATTR, operation, SeenRequest(inode))

    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: Context,
    ) -> EntryAttributes:
        def operation() -> EntryAttributes:
            wanted = attribute_changes(attr, fields, privileged=ctx.uid == 0)
            wanted.changer = changer_of(ctx)
            return entry_attributes(set_attributes(self._tree, self._node(inode), wanted))

        return await self._do(Opcode.SETATTR, operation, SeenRequest(inode))

    async def statfs(self, ctx: Context) -> pyfuse3.StatvfsData:
        def operation() -> pyfuse3.StatvfsData:
            at, reply = statfs(self._tree), pyfuse3.StatvfsData()
            reply.f_bsize, reply.f_frsize, reply.f_namemax = at.f_bsize, at.f_frsize, 255
            reply.f_blocks, reply.f_bfree, reply.f_bavail = at.f_blocks, at.f_bfree, at.f_bavail
            reply.f_files, reply.f_ffree, reply.f_favail = at.f_files, at.f_ffree, at.f_favail
            return reply

        return await self._do(Opcode.STATFS, operation)

    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: Context) -> bytes:
        def operation() -> bytes:
            if name == STATISTICS_NAME and inode == abi.ROOT_ID:
                counters = self._settings.counters
                return counters.statistics(self._settings.facts, nodes=len(self._tree.nodes)).as_json()
            return xattrs.get_xattr(self._tree, self._node(inode), name)

        return await self._do(Opcode.GETXATTR, operation, SeenRequest(inode, names=(name,)))

    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: Context) -> None:
        def operation() -> None:
            node = self._node(inode)
            kill_setgid = False
            if name == b"system.posix_acl_access" and ctx.uid != 0:  # pyfuse3 does not pass on what the kernel says
                kill_setgid = not changer_of(ctx).is_in(self._tree.status(node).st_gid)
            xattrs.set_xattr(self._tree, node, name, value, 0, kill_setgid=kill_setgid)

        await self._do(Opcode.SETXATTR, operation, SeenRequest(inode, names=(name,)))

    async def listxattr(self, inode: InodeT, ctx: Context) -> Sequence[XAttrNameT]:
        def operation() -> list[XAttrNameT]:
            names = xattrs.list_xattrs(self._tree, self._node(inode), privileged=ctx.uid == 0)
            return [XAttrNameT(name) for name in names]

        return await self._do(Opcode.LISTXATTR, operation, SeenRequest(inode))

    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: Context) -> None:
        def operation() -> None:
            xattrs.remove_xattr(self._tree, self._node(inode), name)

        await self._do(Opcode.REMOVEXATTR, operation, SeenRequest(inode, names=(name,)))

    # Content

    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: Context
    ) -> tuple[FileInfo, EntryAttributes]:
        def operation() -> EntryAttributes:
            return self._new_entry(files.create(self._tree, self._directory(parent_inode), name, mode, caller_of(ctx)))

        entry = await self._do(Opcode.CREATE, operation, SeenRequest(parent_inode, names=(name,)))
        if ctx.uid != 0:
            self._written_by_users[entry.st_ino] = changer_of(ctx)
        return FileInfo(fh=_handle(entry.st_ino, flags), keep_cache=True), entry

    async def open(self, inode: InodeT, flags: FlagT, ctx: Context) -> FileInfo:
        def operation() -> FileInfo:
            if ctx.uid != 0 and flags & os.O_ACCMODE != os.O_RDONLY:
                self._written_by_users[inode] = changer_of(ctx)
            # libfuse asks for ATOMIC_O_TRUNC: truncating is left to the opening.
            if flags & os.O_TRUNC:
                wanted = Changes(size=0, kill_privileges=ctx.uid != 0, changer=changer_of(ctx))
                set_attributes(self._tree, self._node(inode), wanted)
            return FileInfo(fh=_handle(inode, flags), keep_cache=True)

        return await self._do(Opcode.OPEN, operation, SeenRequest(inode, flags))

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        number = _number(fh)

        def operation() -> bytes:
            node = self._node(number)
            try:
                return bytes(data.read(self._tree, node, off, size, at_once=memoryview(bytearray(size))))
            except BlockingIOError:
                raise TakesLongError(Read(node, off, size)) from None

        return await self._do(Opcode.READ, operation, SeenRequest(number), off, size)

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        number = _number(fh)

        def operation() -> int:
            return data.write(self._tree, self._node(number), off, buf, self._written_by_users.get(number))

        written = await self._do(Opcode.WRITE, operation, SeenRequest(number), off, len(buf))
        if fh & _DIRECT:
            await _shielded(_forget_pages(number))
        return written

    async def flush(self, fh: FileHandleT) -> None:
        raise FUSEError(errno.ENOSYS)  # asked once only

    async def release(self, fh: FileHandleT) -> None:
        self._settings.counters.requests[Opcode.RELEASE] += 1

    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        await self._sync(Opcode.FSYNC, _number(fh), datasync)

    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        await self._sync(Opcode.FSYNCDIR, self._open_directories.get(fh, fh), datasync)

    async def _sync(self, opcode: Opcode, number: int, data_only: bool) -> None:
        def operation() -> NoReturn:
            if not self._settings.durable:
                raise OSError(errno.ENOSYS, "")  # asked once only
            raise TakesLongError(Sync(self._node(number), data_only))

        await self._do(opcode, operation, SeenRequest(number))

    # Directories

    async def opendir(self, inode: InodeT, ctx: Context) -> FileHandleT:
        def operation() -> FileHandleT:
            if self._ordered is None:
                return FileHandleT(inode)
            handle = self._ordered.open()
            self._open_directories[handle] = inode
            return FileHandleT(handle)

        return await self._do(Opcode.OPENDIR, operation, SeenRequest(inode))

    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        def operation() -> None:
            directory = self._directory(self._open_directories.get(fh, fh))
            if not start_id:
                note_reading(self._tree, directory)
            if self._ordered is None:
                entries = read_directory(self._tree, directory, start_id)
            else:
                entries = self._ordered.read(directory, fh, start_id)
            for name, cookie, kind, number in entries:
                # "." and ".." are no look-ups: the kernel takes their number and type, and does not count them.
                node: Node | None = None
                if name in (b".", b".."):
                    entry = EntryAttributes()
                    entry.st_ino, entry.st_mode = InodeT(number), ModeT(kind)
                else:
                    try:
                        node = lookup(self._tree, directory, name)
                        entry = entry_attributes(get_attributes(self._tree, node))
                    except FileNotFoundError:
                        continue
                if not pyfuse3.readdir_reply(token, FileNameT(name), entry, cookie):
                    break
                if node is not None:
                    node.lookups += 1

        await self._do(Opcode.READDIRPLUS, operation, SeenRequest(self._open_directories.get(fh, fh)), start_id)

    async def releasedir(self, fh: FileHandleT) -> None:
        def operation() -> None:
            if self._ordered is not None:
                self._ordered.close(fh)
                del self._open_directories[fh]

        await self._do(Opcode.RELEASEDIR, operation, SeenRequest(fh))


def _forget_attributes(node: Node) -> None:
    """A change that the reply to come does not tell of."""
    with contextlib.suppress(OSError):  # ENOENT: the kernel has forgotten the node
        pyfuse3.invalidate_inode(InodeT(node.number), attr_only=True)


def _handle(number: int, flags: int) -> FileHandleT:
    return FileHandleT(number | _DIRECT if flags & os.O_DIRECT else number)


def _number(handle: int) -> int:
    return handle & (_DIRECT - 1)


async def _forget_pages(number: int) -> None:
    """Others may have read into the page cache what is now written past it: libfuse lets asynchronous writes do that.

    In a thread, since the kernel waits for reads under way, which are answered here. It waits for no longer than it
    takes: a page that is written back through the same handle goes only after this reply.
    """
    with trio.move_on_after(_PAGES_GO_SECONDS), contextlib.suppress(OSError):
        await trio.to_thread.run_sync(pyfuse3.invalidate_inode, InodeT(number), abandon_on_cancel=True)
