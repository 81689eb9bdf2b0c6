"""The pyfuse3 engine: the same union functions behind stock pyfuse3 and libfuse.

It can do less than the direct engine, since libfuse and pyfuse3 pass less on: each open, close and directory
opening is a request, links and symlinks are asked for again, and O_TMPFILE, fallocate, SEEK_HOLE,
copy_file_range, ioctl, RENAME flags beyond libfuse's and birth times do not exist. What both can do must be
the same: the tests run on both.

A file handle is the node's number, and whether it was opened with O_DIRECT: pyfuse3 gives read, write and readdir
nothing else.
"""

import contextlib
import errno
import logging
import os
import stat
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError

from cowfs.fuse.device import Device
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.observer import Observer, SeenRequest
from cowfs.fuse.protocol import abi
from cowfs.fuse.protocol.abi import Opcode
from cowfs.fuse.protocol.messages import FOREVER, opcode_name
from cowfs.fuse.slow import SlowWork
from cowfs.fuse.statistics import STATISTICS_NAME
from cowfs.union import data, dirs, files, rename, xattrs
from cowfs.union.attrs import Attributes, Caller, Changer, Changes, get_attributes, set_attributes, statfs
from cowfs.union.copyup import CopyUpNeeded
from cowfs.union.lookup import lookup
from cowfs.union.nodes import Directory, Node
from cowfs.union.readdir import note_reading, read_directory
from cowfs.union.readdir_order import OrderedDirectories
from cowfs.union.tree import Tree

if TYPE_CHECKING:
    from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT, XAttrNameT
else:
    # They are no more than these at run time, and pyfuse3 3.2, which Debian 12 has, lacks the names.
    FileHandleT = FlagT = InodeT = ModeT = int
    FileNameT = XAttrNameT = bytes

Result = TypeVar("Result")
Context = pyfuse3.RequestContext

_DIRECT = 1 << 32
"""Beside the node's number, which has 32 bits, in the handle of a file opened with O_DIRECT."""
_PAGES_GO_SECONDS = 0.5

_log = logging.getLogger("cowfs")


async def serve(device: Device, tree: Tree, settings: EngineSettings) -> None:
    """Answers requests until the file system is unmounted, or the surrounding cancel scope is cancelled.

    pyfuse3 keeps its session in global variables: one at a time in a process.
    """
    # libfuse takes a mounted device by this name, and closes it at the end.
    pyfuse3.init(PyfuseOperations(tree, settings), f"/dev/fd/{os.dup(device.fd)}", set())
    try:
        await _main()
    except* ConnectionAbortedError:
        pass  # the mount was taken away by force
    finally:
        pyfuse3.close(unmount=False)


async def _main() -> None:
    """pyfuse3's loop, begun again each time it stumbles.

    When a caller is killed before its request is read, nothing is there to be read, and pyfuse3 takes that for the
    end. Its other tasks are cancelled then; those that still work on a request are shielded, and answer it first.
    """
    ended = False
    while not ended:
        try:
            await pyfuse3.main()
            ended = True
        except* BlockingIOError:
            _log.debug("a request was withdrawn")


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

    async def _do(self, opcode: Opcode, operation: Callable[[], Result], *about: object) -> Result:
        """Every request passes here. The operation runs at once, or after a copy-up in a thread; its OSError is the
        reply's errno; it is counted and, with --debug, described by `about`.
        """
        counters = self._settings.counters
        if self._observer is not None:
            operation = partial(self._observer.watch, opcode, _request(about), operation)
        started = time.perf_counter_ns()
        outcome = "done"
        try:
            try:
                return operation()
            except (CopyUpNeeded, OSError) as problem:
                if isinstance(problem, OSError) and not self._slow.may_only_look_full(problem):
                    raise
                counters.slow += 1
                return await _shielded(self._slow.finish(operation, problem))
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
                self._settings.debug(f"{opcode.name} {' '.join(map(str, about))} -> {outcome}")

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
        """The same for a name that was just made."""
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

        return await self._do(Opcode.LOOKUP, operation, parent_inode, name)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        self._settings.counters.requests[Opcode.BATCH_FORGET] += 1
        for number, count in inode_list:
            self._written_by_users.pop(number, None)  # only after the last close
            self._tree.nodes.forget(number, count)

    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: Context
    ) -> EntryAttributes:
        def operation() -> EntryAttributes:
            directory = self._directory(parent_inode)
            return self._new_entry(files.mknod(self._tree, directory, name, mode, rdev, _caller(ctx)))

        return await self._do(Opcode.MKNOD, operation, parent_inode, name)

    async def mkdir(self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            return self._new_entry(dirs.mkdir(self._tree, self._directory(parent_inode), name, mode, _caller(ctx)))

        return await self._do(Opcode.MKDIR, operation, parent_inode, name)

    async def symlink(self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            return self._new_entry(files.symlink(self._tree, self._directory(parent_inode), name, target, _caller(ctx)))

        return await self._do(Opcode.SYMLINK, operation, parent_inode, name)

    async def link(self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            node = self._node(inode)
            files.link(self._tree, node, self._directory(new_parent_inode), new_name)
            return self._entry(node)

        return await self._do(Opcode.LINK, operation, new_parent_inode, new_name, inode)

    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: Context) -> None:
        def operation() -> None:
            files.unlink(self._tree, self._directory(parent_inode), name)

        await self._do(Opcode.UNLINK, operation, parent_inode, name)

    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: Context) -> None:
        def operation() -> None:
            dirs.rmdir(self._tree, self._directory(parent_inode), name)

        await self._do(Opcode.RMDIR, operation, parent_inode, name)

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
            old, new = self._directory(parent_inode_old), self._directory(parent_inode_new)
            rename.rename(self._tree, old, name_old, new, name_new, flags)

        await self._do(Opcode.RENAME2, operation, parent_inode_old, name_old, parent_inode_new, name_new, flags)

    async def readlink(self, inode: InodeT, ctx: Context) -> FileNameT:
        return FileNameT(await self._do(Opcode.READLINK, lambda: files.readlink(self._tree, self._node(inode)), inode))

    # Attributes

    async def getattr(self, inode: InodeT, ctx: Context) -> EntryAttributes:
        def operation() -> EntryAttributes:
            return entry_attributes(get_attributes(self._tree, self._node(inode)))

        return await self._do(Opcode.GETATTR, operation, inode)

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
            wanted.changer = _changer(ctx)
            return entry_attributes(set_attributes(self._tree, self._node(inode), wanted))

        return await self._do(Opcode.SETATTR, operation, inode)

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
                return self._settings.counters.as_json(self._settings.facts, nodes=len(self._tree.nodes))
            return xattrs.get_xattr(self._tree, self._node(inode), name)

        return await self._do(Opcode.GETXATTR, operation, inode, name)

    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: Context) -> None:
        def operation() -> None:
            node = self._node(inode)
            kill_setgid = False
            if name == b"system.posix_acl_access" and ctx.uid != 0:  # pyfuse3 does not pass on what the kernel says
                kill_setgid = not _changer(ctx).is_in(self._tree.status(node).st_gid)
            xattrs.set_xattr(self._tree, node, name, value, 0, kill_setgid=kill_setgid)

        await self._do(Opcode.SETXATTR, operation, inode, name)

    async def listxattr(self, inode: InodeT, ctx: Context) -> Sequence[XAttrNameT]:
        def operation() -> list[XAttrNameT]:
            names = xattrs.list_xattrs(self._tree, self._node(inode), privileged=ctx.uid == 0)
            return [XAttrNameT(name) for name in names]

        return await self._do(Opcode.LISTXATTR, operation, inode)

    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: Context) -> None:
        def operation() -> None:
            xattrs.remove_xattr(self._tree, self._node(inode), name)

        await self._do(Opcode.REMOVEXATTR, operation, inode, name)

    # Content

    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: Context
    ) -> tuple[FileInfo, EntryAttributes]:
        def operation() -> EntryAttributes:
            return self._new_entry(files.create(self._tree, self._directory(parent_inode), name, mode, _caller(ctx)))

        entry = await self._do(Opcode.CREATE, operation, parent_inode, name)
        if ctx.uid != 0:
            self._written_by_users[entry.st_ino] = _changer(ctx)
        return FileInfo(fh=_handle(entry.st_ino, flags), keep_cache=True), entry

    async def open(self, inode: InodeT, flags: FlagT, ctx: Context) -> FileInfo:
        def operation() -> FileInfo:
            if ctx.uid != 0 and flags & os.O_ACCMODE != os.O_RDONLY:
                self._written_by_users[inode] = _changer(ctx)
            # libfuse asks for ATOMIC_O_TRUNC: truncating is left to the opening.
            if flags & os.O_TRUNC:
                wanted = Changes(size=0, kill_privileges=ctx.uid != 0, changer=_changer(ctx))
                set_attributes(self._tree, self._node(inode), wanted)
            return FileInfo(fh=_handle(inode, flags), keep_cache=True)

        return await self._do(Opcode.OPEN, operation, inode, flags)

    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        node = self._tree.nodes.find(_number(fh))
        if node is None:
            raise FUSEError(errno.ESTALE)
        try:
            return await self._do(Opcode.READ, partial(self._read_at_once, node, off, size), fh, off, size)
        except FUSEError as error:
            if error.errno != errno.EAGAIN:
                raise
        self._settings.counters.slow += 1
        try:
            return await _shielded(self._slow.read(node, off, size))
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None

    def _read_at_once(self, node: Node, offset: int, size: int) -> bytes:
        return bytes(data.read(self._tree, node, offset, size, wait=False))

    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        number = _number(fh)

        def operation() -> int:
            return data.write(self._tree, self._node(number), off, buf, self._written_by_users.get(number))

        written = await self._do(Opcode.WRITE, operation, number, off, len(buf))
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
        self._settings.counters.requests[opcode] += 1
        if not self._settings.durable:
            raise FUSEError(errno.ENOSYS)  # asked once only
        try:
            await _shielded(self._slow.sync(self._node(number), data_only=data_only))
        except OSError as error:
            raise FUSEError(error.errno or errno.EIO) from None

    # Directories

    async def opendir(self, inode: InodeT, ctx: Context) -> FileHandleT:
        self._settings.counters.requests[Opcode.OPENDIR] += 1
        if self._ordered is None:
            return FileHandleT(inode)
        handle = self._ordered.open()
        self._open_directories[handle] = inode
        return FileHandleT(handle)

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

        await self._do(Opcode.READDIRPLUS, operation, self._open_directories.get(fh, fh), start_id)

    async def releasedir(self, fh: FileHandleT) -> None:
        self._settings.counters.requests[Opcode.RELEASEDIR] += 1
        if self._ordered is not None:
            self._ordered.close(fh)
            del self._open_directories[fh]


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


def _request(about: Sequence[object]) -> SeenRequest:
    numbers = [each for each in about if isinstance(each, int)]
    names = tuple(each for each in about if isinstance(each, bytes))
    return SeenRequest(numbers[0] if numbers else 0, numbers[1] if len(numbers) > 1 else 0, names)


def _caller(ctx: Context) -> Caller:
    return Caller(ctx.uid, ctx.gid, ctx.umask)


def _changer(ctx: Context) -> Changer:
    return Changer(ctx.uid, ctx.gid, ctx.pid)


def _forget_attributes(node: Node) -> None:
    """A change that the reply to come does not tell of."""
    with contextlib.suppress(OSError):  # ENOENT: the kernel has forgotten the node
        pyfuse3.invalidate_inode(InodeT(node.number), attr_only=True)
