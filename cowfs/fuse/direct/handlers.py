"""The direct engine's requests: one method per opcode, from the message's bytes to a call of the union and back.

A handler gets the node number and the message, and returns the reply's body. It raises OSError to refuse,
and CopyUpNeeded or BlockingIOError when the answer would take long; dispatch.py turns these into replies
or threads.

The kernel keeps names and attributes for ever, so a change must be known to it. It forgets by itself what an
operation touches: the directories of names, size and times of what is written, the link count of what is
unlinked. What is left, a mode that a write cleared of setuid, the union tells through `tree.on_stale`.
"""

import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from errno import ENOENT, ENOSYS, ENOTDIR, ENOTTY, ENXIO, ERANGE
from functools import partial

from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.observer import Observer, observed
from cowfs.fuse.protocol import abi, messages, negotiation
from cowfs.fuse.protocol.abi import InitFlag, Opcode
from cowfs.fuse.protocol.messages import HEADER_SIZE, NEGATIVE_ENTRY, NO_ENTRY, dirent, dirent_size
from cowfs.fuse.slow import SlowWork
from cowfs.fuse.statistics import STATISTICS_NAME
from cowfs.union import data, dirs, files, rename, xattrs
from cowfs.union.attrs import (
    NOW,
    Attributes,
    Caller,
    Changer,
    Changes,
    birth_time,
    get_attributes,
    lookup_attributes,
    set_attributes,
    statfs,
)
from cowfs.union.nodes import Directory, Node
from cowfs.union.readdir import Entry, note_reading, read_directory
from cowfs.union.readdir_order import OrderedDirectories
from cowfs.union.tree import Tree

Message = bytes | bytearray
Reply = bytes | memoryview | None
Handler = Callable[[int, Message], Reply]
Work = Callable[[], Awaitable[Reply]]

ROOT_NAME = "root"
ROOT_ALIAS = 1 << 32
"""The kernel's number for the union's root when that is not the FUSE root; node numbers have 32 bits."""

_CALLER = struct.Struct("=II")
_CHANGER = struct.Struct("=III")
_CALLER_OFFSET = abi.IN_HEADER.offset("uid")
_CHANGE = (
    abi.FATTR_MODE | abi.FATTR_UID | abi.FATTR_GID | abi.FATTR_SIZE | abi.FATTR_ATIME | abi.FATTR_MTIME
)  # fmt: skip
_OPENED = abi.OPEN_OUT.pack(0, abi.FOPEN_KEEP_CACHE | abi.FOPEN_NOFLUSH, 0)

_IOCTL_NUMBER = 0xFFFF
"""Type and number of an ioctl, without the argument's direction and size, which differ between 32 and 64 bits."""
_FS_IOC_GETFLAGS = 0x6601
_FS_IOC_SETFLAGS = 0x6602
_FS_IOC_FSGETXATTR = 0x581F
_FSXATTR = struct.Struct("=IIIII8x")
_XFLAG_OF_FLAG = {0x10: 0x8, 0x20: 0x10, 0x8: 0x20, 0x80: 0x40, 0x40: 0x80}
"""FS_*_FL -> FS_XFLAG_*, linux/fs.h: immutable, append, sync, noatime, nodump."""


class TakesLongError(Exception):
    """Not a failure: the answer is not at hand, and `work` gets it without stalling other requests."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work


class Handlers:
    """The methods, bound to one tree; `table` is indexed by opcode."""

    def __init__(self, tree: Tree, settings: EngineSettings, slow: SlowWork) -> None:
        self.tree = tree
        self.slow = slow
        self.settings = settings
        self.wanted = negotiation.WANTED if settings.uses is None else negotiation.WANTED_TO_OBSERVE
        self.negotiated = InitFlag(0)
        self._node = tree.nodes.get
        self._setxattr_size = abi.COMPAT_SETXATTR_IN_SIZE
        self.table: list[Handler] = [self._unknown] * abi.OPCODE_LIMIT
        self.table[Opcode.LOOKUP] = self.lookup
        self.table[Opcode.FORGET] = self.forget
        self.table[Opcode.BATCH_FORGET] = self.batch_forget
        self.table[Opcode.GETATTR] = self.getattr
        self.table[Opcode.SETATTR] = self.setattr
        self.table[Opcode.STATX] = self.statx
        self.table[Opcode.READLINK] = self.readlink
        self.table[Opcode.SYMLINK] = self.symlink
        self.table[Opcode.MKNOD] = self.mknod
        self.table[Opcode.MKDIR] = self.mkdir
        self.table[Opcode.UNLINK] = self.unlink
        self.table[Opcode.RMDIR] = self.rmdir
        self.table[Opcode.RENAME] = self.rename
        self.table[Opcode.RENAME2] = self.rename2
        self.table[Opcode.LINK] = self.link
        self.table[Opcode.CREATE] = self.create
        self.table[Opcode.TMPFILE] = self.tmpfile
        self.table[Opcode.OPEN] = self.open
        self.table[Opcode.OPENDIR] = self.opendir
        self.table[Opcode.RELEASE] = self.nothing
        self.table[Opcode.RELEASEDIR] = self.nothing
        self.table[Opcode.READ] = self.read
        self.table[Opcode.WRITE] = self.write
        self.table[Opcode.LSEEK] = self.lseek
        self.table[Opcode.FALLOCATE] = self.fallocate
        self.table[Opcode.COPY_FILE_RANGE] = self.copy_file_range
        self.table[Opcode.COPY_FILE_RANGE_64] = self.copy_file_range_64
        self.table[Opcode.READDIR] = self.readdir
        self.table[Opcode.READDIRPLUS] = self.readdirplus
        self.table[Opcode.STATFS] = self.statfs
        self.table[Opcode.GETXATTR] = self.getxattr
        self.table[Opcode.SETXATTR] = self.setxattr
        self.table[Opcode.LISTXATTR] = self.listxattr
        self.table[Opcode.REMOVEXATTR] = self.removexattr
        self.table[Opcode.IOCTL] = self.ioctl
        self.table[Opcode.INIT] = self.init
        self.table[Opcode.DESTROY] = self.nothing
        self._ordered: OrderedDirectories | None = None
        if tree.variation.readdir_order is not None:
            self._ordered = OrderedDirectories(tree, tree.variation.readdir_order)
            self.table[Opcode.RELEASEDIR] = self.releasedir_in_order
        if settings.durable:
            self.table[Opcode.FSYNC] = self.fsync
            self.table[Opcode.FSYNCDIR] = self.fsync
            self.table[Opcode.SYNCFS] = self.syncfs
        if settings.uses is not None:
            observer = Observer(tree, settings.uses)
            for opcode in Opcode:
                self.table[opcode] = observed(observer, opcode, self.table[opcode])

    # The session

    def init(self, _: int, message: Message) -> Reply:
        self.negotiated, reply = negotiation.answer(message, self.settings.debug, self.wanted)
        if self.negotiated & InitFlag.SETXATTR_EXT:
            self._setxattr_size = abi.SETXATTR_IN.size
        return reply

    def nothing(self, _: int, __: Message) -> Reply:
        return b""

    def _unknown(self, _: int, __: Message) -> Reply:
        """The kernel remembers for most opcodes and asks no more: FLUSH, FSYNC, FSYNCDIR, ACCESS, BMAP, POLL."""
        raise OSError(ENOSYS, "")

    def describe(self, message: messages.Buffer) -> str:
        """A request as one readable line."""
        return messages.describe(message, setxattr_ext=bool(self.negotiated & InitFlag.SETXATTR_EXT))

    # Names

    def _directory(self, number: int) -> Directory:
        node = self._node(number)
        if not isinstance(node, Directory):
            raise OSError(ENOTDIR, "")
        return node

    def _entry(self, node: Node) -> bytes:
        """The reply for a name that now leads to this node. The kernel counts it, and FORGETs what it counted."""
        return self._new_entry((node, get_attributes(self.tree, node)))

    def _new_entry(self, made: tuple[Node, Attributes]) -> bytes:
        """The same for a name that was just made."""
        node, attributes = made
        node.lookups += 1
        return messages.entry(attributes)

    def _named_entry(self, directory: Directory, name: bytes) -> bytes:
        """The same for a name that has to be looked up."""
        return self._new_entry(lookup_attributes(self.tree, directory, name))

    def lookup(self, number: int, message: Message) -> Reply:
        try:
            return self._named_entry(self._directory(number), _name(message, HEADER_SIZE))
        except FileNotFoundError:
            return NEGATIVE_ENTRY

    def lookup_root(self, number: int, message: Message) -> Reply:
        """As `lookup`, while loop.py settles the mount: the FUSE root has one name, that of the union's root."""
        if number != abi.ROOT_ID:
            return self.lookup(number, message)
        if _name(message, HEADER_SIZE) != ROOT_NAME.encode():
            raise OSError(ENOENT, "")
        self.tree.nodes.add_alias(ROOT_ALIAS, self.tree.root)
        self.tree.root.lookups += 1
        return messages.entry(get_attributes(self.tree, self.tree.root), ROOT_ALIAS)

    def forget(self, number: int, message: Message) -> Reply:
        self.tree.nodes.forget(number, abi.FORGET_IN.unpack_from(message, HEADER_SIZE)[0])
        return None

    def batch_forget(self, _: int, message: Message) -> Reply:
        forget = self.tree.nodes.forget
        for number, count in messages.decode_forgets(message):
            forget(number, count)
        return None

    def symlink(self, number: int, message: Message) -> Reply:
        name = _name(message, HEADER_SIZE)
        target = _name(message, HEADER_SIZE + len(name) + 1)
        return self._new_entry(files.symlink(self.tree, self._directory(number), name, target, _caller(message, 0)))

    def mknod(self, number: int, message: Message) -> Reply:
        mode, rdev, umask, _ = abi.MKNOD_IN.unpack_from(message, HEADER_SIZE)
        name = _name(message, HEADER_SIZE + abi.MKNOD_IN.size)
        caller = _caller(message, umask)
        return self._new_entry(files.mknod(self.tree, self._directory(number), name, mode, rdev, caller))

    def mkdir(self, number: int, message: Message) -> Reply:
        mode, umask = abi.MKDIR_IN.unpack_from(message, HEADER_SIZE)
        name = _name(message, HEADER_SIZE + abi.MKDIR_IN.size)
        return self._new_entry(dirs.mkdir(self.tree, self._directory(number), name, mode, _caller(message, umask)))

    def create(self, number: int, message: Message) -> Reply:
        """Not ENOSYS: the kernel would then send MKNOD instead, as many requests, and open as a second step."""
        _, mode, umask, _ = abi.CREATE_IN.unpack_from(message, HEADER_SIZE)
        name = _name(message, HEADER_SIZE + abi.CREATE_IN.size)
        made = files.create(self.tree, self._directory(number), name, mode, _caller(message, umask))
        return self._new_entry(made) + _OPENED

    def tmpfile(self, number: int, message: Message) -> Reply:
        _, mode, umask, _ = abi.CREATE_IN.unpack_from(message, HEADER_SIZE)
        node = files.tmpfile(self.tree, self._directory(number), mode, _caller(message, umask))
        return self._entry(node) + _OPENED

    def link(self, number: int, message: Message) -> Reply:
        node = self._node(abi.LINK_IN.unpack_from(message, HEADER_SIZE)[0])
        files.link(self.tree, node, self._directory(number), _name(message, HEADER_SIZE + abi.LINK_IN.size))
        return self._entry(node)

    def unlink(self, number: int, message: Message) -> Reply:
        files.unlink(self.tree, self._directory(number), _name(message, HEADER_SIZE))
        return b""

    def rmdir(self, number: int, message: Message) -> Reply:
        dirs.rmdir(self.tree, self._directory(number), _name(message, HEADER_SIZE))
        return b""

    def rename(self, number: int, message: Message) -> Reply:
        target = abi.RENAME_IN.unpack_from(message, HEADER_SIZE)[0]
        return self._rename(number, target, 0, message, HEADER_SIZE + abi.RENAME_IN.size)

    def rename2(self, number: int, message: Message) -> Reply:
        target, flags, _ = abi.RENAME2_IN.unpack_from(message, HEADER_SIZE)
        return self._rename(number, target, flags, message, HEADER_SIZE + abi.RENAME2_IN.size)

    def _rename(self, source: int, target: int, flags: int, message: Message, names_at: int) -> Reply:
        old = _name(message, names_at)
        new = _name(message, names_at + len(old) + 1)
        rename.rename(self.tree, self._directory(source), old, self._directory(target), new, flags)
        return b""

    def readlink(self, number: int, _: Message) -> Reply:
        return files.readlink(self.tree, self._node(number))

    # Attributes

    def getattr(self, number: int, _: Message) -> Reply:
        return messages.attr(get_attributes(self.tree, self._node(number)))

    def statx(self, number: int, _: Message) -> Reply:
        node = self._node(number)
        return messages.statx(get_attributes(self.tree, node), birth_time(self.tree, node))

    def setattr(self, number: int, message: Message) -> Reply:
        fields = abi.SETATTR_IN.unpack_from(message, HEADER_SIZE)
        wanted = attribute_changes(*fields)
        wanted.changer = _changer(message)
        return messages.attr(set_attributes(self.tree, self._node(number), wanted))

    def statfs(self, _: int, __: Message) -> Reply:
        at = statfs(self.tree)
        return messages.statfs(at.f_blocks, at.f_bfree, at.f_bavail, at.f_files, at.f_ffree, at.f_bsize, at.f_frsize)

    def getxattr(self, number: int, message: Message) -> Reply:
        size, _ = abi.GETXATTR_IN.unpack_from(message, HEADER_SIZE)
        name = _name(message, HEADER_SIZE + abi.GETXATTR_IN.size)
        if name == STATISTICS_NAME and self._node(number) is self.tree.root:
            value = self.settings.counters.as_json(self.settings.facts, nodes=len(self.tree.nodes))
        else:
            value = xattrs.get_xattr(self.tree, self._node(number), name)
        return _sized(value, size)

    def listxattr(self, number: int, message: Message) -> Reply:
        size, _ = abi.GETXATTR_IN.unpack_from(message, HEADER_SIZE)
        names = xattrs.list_xattrs(self.tree, self._node(number), privileged=_is_root(message))
        return _sized(b"".join([name + b"\0" for name in names]), size)

    def setxattr(self, number: int, message: Message) -> Reply:
        size, flags = struct.unpack_from("=II", message, HEADER_SIZE)
        names_at = HEADER_SIZE + self._setxattr_size
        name = _name(message, names_at)
        value_at = names_at + len(name) + 1
        kill_setgid = False
        if self._setxattr_size == abi.SETXATTR_IN.size:
            kill_setgid = bool(abi.SETXATTR_IN.unpack_from(message, HEADER_SIZE)[2] & abi.SETXATTR_ACL_KILL_SGID)
        value = bytes(message[value_at : value_at + size])
        xattrs.set_xattr(self.tree, self._node(number), name, value, flags, kill_setgid=kill_setgid)
        return b""

    def removexattr(self, number: int, message: Message) -> Reply:
        xattrs.remove_xattr(self.tree, self._node(number), _name(message, HEADER_SIZE))
        return b""

    # Content

    def open(self, _: int, __: Message) -> Reply:
        """ENOSYS once: from then on the kernel opens and closes alone, and READ and WRITE name only the node."""
        if self.negotiated & InitFlag.NO_OPEN_SUPPORT:
            raise OSError(ENOSYS, "")
        return _OPENED

    def opendir(self, _: int, __: Message) -> Reply:
        if self._ordered is not None:
            return abi.OPEN_OUT.pack(self._ordered.open(), 0, 0)  # the kernel would give one opening another's cookies
        if self.negotiated & InitFlag.NO_OPENDIR_SUPPORT:
            raise OSError(ENOSYS, "")
        return abi.OPEN_OUT.pack(0, abi.FOPEN_KEEP_CACHE | abi.FOPEN_CACHE_DIR, 0)

    def read(self, number: int, message: Message) -> Reply:
        _, offset, size, _, _, _, _ = abi.READ_IN.unpack_from(message, HEADER_SIZE)
        node = self._node(number)
        try:
            return data.read(self.tree, node, offset, size, wait=False)
        except BlockingIOError:
            raise TakesLongError(partial(self.slow.read, node, offset, size)) from None

    def write(self, number: int, message: Message) -> Reply:
        _, offset, size, flags, _, _, _ = abi.WRITE_IN.unpack_from(message, HEADER_SIZE)
        start = HEADER_SIZE + abi.WRITE_IN.size
        content = memoryview(message)[start : start + size]
        node = self._node(number)
        unprivileged = _changer(message) if flags & abi.WRITE_KILL_SUIDGID else None
        written = data.write(self.tree, node, offset, content, unprivileged)
        return abi.WRITE_OUT.pack(written, 0)

    def lseek(self, number: int, message: Message) -> Reply:
        _, offset, whence, _ = abi.LSEEK_IN.unpack_from(message, HEADER_SIZE)
        if offset >= 1 << 63:
            raise OSError(ENXIO, "")
        return abi.LSEEK_OUT.pack(data.seek(self.tree, self._node(number), offset, whence))

    def fallocate(self, number: int, message: Message) -> Reply:
        _, offset, length, mode, _ = abi.FALLOCATE_IN.unpack_from(message, HEADER_SIZE)
        data.fallocate(self.tree, self._node(number), mode, offset, length, _unprivileged(message))
        return b""

    def copy_file_range(self, number: int, message: Message) -> Reply:
        return abi.WRITE_OUT.pack(self._copy(number, message), 0)

    def copy_file_range_64(self, number: int, message: Message) -> Reply:
        return abi.COPY_FILE_RANGE_OUT.pack(self._copy(number, message))

    def _copy(self, number: int, message: Message) -> int:
        _, offset, target, _, target_offset, length, _ = abi.COPY_FILE_RANGE_IN.unpack_from(message, HEADER_SIZE)
        source_node, target_node = self._node(number), self._node(target)
        unprivileged = _unprivileged(message)
        return data.copy_range(self.tree, source_node, offset, target_node, target_offset, length, unprivileged)

    def fsync(self, number: int, message: Message) -> Reply:
        _, flags, _ = abi.FSYNC_IN.unpack_from(message, HEADER_SIZE)
        data_only = bool(flags & abi.FSYNC_FDATASYNC)
        raise TakesLongError(partial(self.slow.sync, self._node(number), data_only=data_only))

    def syncfs(self, _: int, __: Message) -> Reply:
        raise TakesLongError(self.slow.sync_all)

    # Directories

    def _entries(self, directory: Directory, handle: int, cookie: int) -> Iterator[Entry]:
        if not cookie:
            note_reading(self.tree, directory)
        if self._ordered is not None:
            return self._ordered.read(directory, handle, cookie)
        return read_directory(self.tree, directory, cookie)

    def releasedir_in_order(self, _: int, message: Message) -> Reply:
        assert self._ordered is not None
        self._ordered.close(abi.RELEASE_IN.unpack_from(message, HEADER_SIZE)[0])
        return b""

    def readdir(self, number: int, message: Message) -> Reply:
        handle, cookie, size, _, _, _, _ = abi.READ_IN.unpack_from(message, HEADER_SIZE)
        records: list[bytes] = []
        for name, next_cookie, mode_type, child in self._entries(self._directory(number), handle, cookie):
            size -= dirent_size(name)
            if size < 0:
                break
            records.append(dirent(name, next_cookie, child, mode_type))
        return b"".join(records)

    def readdirplus(self, number: int, message: Message) -> Reply:
        """Each record is a look-up too, counted only when it is really sent; "." and ".." are none."""
        handle, cookie, size, _, _, _, _ = abi.READ_IN.unpack_from(message, HEADER_SIZE)
        directory = self._directory(number)
        entry_size = len(NO_ENTRY)
        records: list[bytes] = []
        for name, next_cookie, mode_type, child in self._entries(directory, handle, cookie):
            size -= entry_size + dirent_size(name)
            if size < 0:
                break
            if name in (b".", b".."):
                records.append(NO_ENTRY)
            else:
                try:
                    records.append(self._named_entry(directory, name))
                except OSError:
                    records.append(NO_ENTRY)
            records.append(dirent(name, next_cookie, child, mode_type))
        return b"".join(records)

    # Flags of files

    def ioctl(self, number: int, message: Message) -> Reply:
        """Compilers and perl ask every file whether it is a terminal: the answer to all but three is a quick no."""
        _, _, command, _, in_size, out_size = abi.IOCTL_IN.unpack_from(message, HEADER_SIZE)
        command &= _IOCTL_NUMBER
        if command == _FS_IOC_GETFLAGS:
            answer = data.get_flags(self.tree, self._node(number)).to_bytes(8, "little")
        elif command == _FS_IOC_SETFLAGS:
            start = HEADER_SIZE + abi.IOCTL_IN.size
            flags = int.from_bytes(message[start : start + min(in_size, 4)], "little")
            data.set_flags(self.tree, self._node(number), flags)
            answer = b""
        elif command == _FS_IOC_FSGETXATTR:
            flags = data.get_flags(self.tree, self._node(number))
            answer = _FSXATTR.pack(sum(xflag for flag, xflag in _XFLAG_OF_FLAG.items() if flags & flag), 0, 0, 0, 0)
        else:
            raise OSError(ENOTTY, "")
        return abi.IOCTL_OUT.pack(0, 0, 0, 0) + answer[:out_size].ljust(out_size, b"\0")


def attribute_changes(
    valid: int, _: int, __: int, size: int, ___: int, atime: int, mtime: int, ____: int,
    atimensec: int, mtimensec: int, _____: int, mode: int, ______: int, uid: int, gid: int, _______: int,
) -> Changes:  # fmt: skip
    """The fields of fuse_setattr_in as the union wants them.

    Nothing to change is chown(path, -1, -1): what is left of it is that it clears setuid and setgid.
    """
    wanted = Changes(kill_privileges=bool(valid & abi.FATTR_KILL_SUIDGID) or not valid & _CHANGE)
    if valid & abi.FATTR_MODE:
        wanted.mode = stat.S_IMODE(mode)
    if valid & abi.FATTR_UID:
        wanted.uid = uid
    if valid & abi.FATTR_GID:
        wanted.gid = gid
    if valid & abi.FATTR_SIZE:
        wanted.size = size
    if valid & abi.FATTR_ATIME:
        wanted.atime_ns = NOW if valid & abi.FATTR_ATIME_NOW else atime * messages.NANOSECONDS + atimensec
    if valid & abi.FATTR_MTIME:
        wanted.mtime_ns = NOW if valid & abi.FATTR_MTIME_NOW else mtime * messages.NANOSECONDS + mtimensec
    return wanted


def _name(message: Message, start: int) -> bytes:
    return bytes(message[start : message.index(0, start)])


def _caller(message: Message, umask: int) -> Caller:
    uid, gid = _CALLER.unpack_from(message, _CALLER_OFFSET)
    return Caller(uid, gid, umask)


def _changer(message: Message) -> Changer:
    return Changer(*_CHANGER.unpack_from(message, _CALLER_OFFSET))


def _unprivileged(message: Message) -> Changer | None:
    return None if _is_root(message) else _changer(message)


def _is_root(message: Message) -> bool:
    """Whether the caller has a capability, for requests that have no flag of their own to say so."""
    uid: int = _CALLER.unpack_from(message, _CALLER_OFFSET)[0]
    return uid == 0


def _sized(value: bytes, size: int) -> bytes:
    """The answer to a question about an extended attribute: its length alone, when no room was offered for it."""
    if size == 0:
        return abi.GETXATTR_OUT.pack(len(value), 0)
    if len(value) > size:
        raise OSError(ERANGE, "")
    return value
