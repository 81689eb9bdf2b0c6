"""The direct engine's requests: one method per opcode, from the message's bytes to a call of the union and back.

A handler gets the node number and the message, and returns the reply's body. It raises OSError to refuse,
and CopyUpNeeded or TakesLongError when the answer would take long; dispatch.py turns these into replies
or tasks.

The kernel keeps names and attributes for ever, so a change must be known to it. It forgets by itself what an
operation touches: the directories of names, size and times of what is written, the link count of what is
unlinked. What is left, a mode that a write cleared of setuid, the union tells through `tree.on_stale`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT, ENOSYS, ENOTDIR, ENOTTY, ENXIO

from cowfs.fuse.delay import Read, Sync, SyncAll, TakesLongError
from cowfs.fuse.direct.arguments import (
    Message,
    Reply,
    attribute_changes,
    caller_of,
    changer_of,
    is_root,
    name_at,
    sized,
    unprivileged,
)
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.observer import Observer, observed
from cowfs.fuse.protocol import abi, file_flags, messages, negotiation
from cowfs.fuse.protocol.abi import InitFlag
from cowfs.fuse.protocol.messages import HEADER_SIZE, NEGATIVE_ENTRY, NO_ENTRY, dirent
from cowfs.fuse.protocol.opcodes import OPCODE_LIMIT, Opcode
from cowfs.fuse.statistics import STATISTICS_NAME
from cowfs.union import data, dirs, files, rename, xattrs
from cowfs.union.attrs import (
    Attributes,
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

Handler = Callable[[int, Message], Reply]

ROOT_NAME = "root"
ROOT_ALIAS = 1 << 32
"""The kernel's number for the union's root when that is not the FUSE root; node numbers have 32 bits."""

_DOTS = (b".", b"..")
_OPENED = abi.OPEN_OUT.pack(0, abi.FOPEN_KEEP_CACHE | abi.FOPEN_NOFLUSH, 0)


class Handlers:
    """The methods that opcodes.py names, bound to one tree; `table` is indexed by opcode, and only filled here."""

    def __init__(self, tree: Tree, settings: EngineSettings, give_up: Callable[[int], None] = lambda _: None) -> None:
        """`give_up` is told the unique number of a request whose caller got a signal."""
        self.tree = tree
        self.settings = settings
        self.negotiated = InitFlag(0)
        self.before_init: Callable[[messages.InitRequest], InitFlag] = lambda _: InitFlag(0)
        """Called with what the kernel offers before it is answered; returns what is wanted besides."""
        self._give_up = give_up
        self.read_buffer = memoryview(bytearray())
        """Where content is read to; a queue lends that of the place that the reply goes to."""
        self._node = tree.nodes.get
        self._setxattr_size = abi.COMPAT_SETXATTR_IN_SIZE
        order = tree.variation.readdir_order
        self._ordered = None if order is None else OrderedDirectories(tree, order)
        self._observer = None if settings.uses is None else Observer(tree, settings.uses)
        self.table: list[Handler] = [self._unknown] * OPCODE_LIMIT
        for opcode in Opcode:
            self.table[opcode] = self._handler(opcode)

    def _handler(self, opcode: Opcode) -> Handler:
        """The method of an opcode's row."""
        if not opcode.handler or (opcode.durable and not self.settings.durable):
            return self._unknown
        method: Handler = getattr(self, opcode.handler)
        return method if self._observer is None else observed(self._observer, opcode, method)

    @contextmanager
    def only_root_shown(self) -> Iterator[None]:
        """While the mount is being finished: the FUSE root has one name, that of the union's root."""
        self.table[Opcode.LOOKUP] = self._lookup_root
        try:
            yield
        finally:
            self.table[Opcode.LOOKUP] = self._handler(Opcode.LOOKUP)

    # The session

    def init(self, _: int, message: Message) -> Reply:
        wanted = negotiation.WANTED if self._observer is None else negotiation.WANTED_TO_OBSERVE
        wanted |= self.before_init(messages.decode_init(message))
        self.negotiated, reply = negotiation.answer(message, self.settings.debug, wanted)
        if self.negotiated & InitFlag.SETXATTR_EXT:
            self._setxattr_size = abi.SETXATTR_IN.size
        return reply

    def interrupt(self, _: int, message: Message) -> Reply:
        self._give_up(abi.INTERRUPT_IN.unpack_from(message, HEADER_SIZE)[0])
        return None

    def nothing(self, _: int, __: Message) -> Reply:
        return b""

    def _unknown(self, _: int, __: Message) -> Reply:
        """The kernel remembers it for most opcodes, and asks no more."""
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
        """The reply for a name that was just made."""
        node, attributes = made
        node.lookups += 1
        return messages.entry(attributes)

    def lookup(self, number: int, message: Message) -> Reply:
        try:
            found = lookup_attributes(self.tree, self._directory(number), name_at(message, HEADER_SIZE))
        except FileNotFoundError:
            found = None
        return NEGATIVE_ENTRY if found is None else self._new_entry(found)

    def _lookup_root(self, number: int, message: Message) -> Reply:
        if number != abi.ROOT_ID:
            return self.lookup(number, message)
        if name_at(message, HEADER_SIZE) != ROOT_NAME.encode():
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
        name = name_at(message, HEADER_SIZE)
        target = name_at(message, HEADER_SIZE + len(name) + 1)
        return self._new_entry(files.symlink(self.tree, self._directory(number), name, target, caller_of(message, 0)))

    def mknod(self, number: int, message: Message) -> Reply:
        mode, rdev, umask, _ = abi.MKNOD_IN.unpack_from(message, HEADER_SIZE)
        name = name_at(message, HEADER_SIZE + abi.MKNOD_IN.size)
        caller = caller_of(message, umask)
        return self._new_entry(files.mknod(self.tree, self._directory(number), name, mode, rdev, caller))

    def mkdir(self, number: int, message: Message) -> Reply:
        mode, umask = abi.MKDIR_IN.unpack_from(message, HEADER_SIZE)
        name = name_at(message, HEADER_SIZE + abi.MKDIR_IN.size)
        return self._new_entry(dirs.mkdir(self.tree, self._directory(number), name, mode, caller_of(message, umask)))

    def create(self, number: int, message: Message) -> Reply:
        """Not ENOSYS: the kernel would then send MKNOD instead, as many requests, and open as a second step."""
        _, mode, umask, _ = abi.CREATE_IN.unpack_from(message, HEADER_SIZE)
        name = name_at(message, HEADER_SIZE + abi.CREATE_IN.size)
        made = files.create(self.tree, self._directory(number), name, mode, caller_of(message, umask))
        return self._new_entry(made) + _OPENED

    def tmpfile(self, number: int, message: Message) -> Reply:
        _, mode, umask, _ = abi.CREATE_IN.unpack_from(message, HEADER_SIZE)
        node = files.tmpfile(self.tree, self._directory(number), mode, caller_of(message, umask))
        return self._entry(node) + _OPENED

    def link(self, number: int, message: Message) -> Reply:
        node = self._node(abi.LINK_IN.unpack_from(message, HEADER_SIZE)[0])
        files.link(self.tree, node, self._directory(number), name_at(message, HEADER_SIZE + abi.LINK_IN.size))
        return self._entry(node)

    def unlink(self, number: int, message: Message) -> Reply:
        files.unlink(self.tree, self._directory(number), name_at(message, HEADER_SIZE))
        return b""

    def rmdir(self, number: int, message: Message) -> Reply:
        dirs.rmdir(self.tree, self._directory(number), name_at(message, HEADER_SIZE))
        return b""

    def rename(self, number: int, message: Message) -> Reply:
        target = abi.RENAME_IN.unpack_from(message, HEADER_SIZE)[0]
        return self._rename(number, target, 0, message, HEADER_SIZE + abi.RENAME_IN.size)

    def rename2(self, number: int, message: Message) -> Reply:
        target, flags, _ = abi.RENAME2_IN.unpack_from(message, HEADER_SIZE)
        return self._rename(number, target, flags, message, HEADER_SIZE + abi.RENAME2_IN.size)

    def _rename(self, source: int, target: int, flags: int, message: Message, names_at: int) -> Reply:
        old = name_at(message, names_at)
        new = name_at(message, names_at + len(old) + 1)
        rename.rename(self.tree, (self._directory(source), old), (self._directory(target), new), flags)
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
        wanted = attribute_changes(abi.SetattrIn._make(abi.SETATTR_IN.unpack_from(message, HEADER_SIZE)))
        if wanted.kill_privileges or not is_root(message):
            wanted.changer = changer_of(message)
        return messages.attr(set_attributes(self.tree, self._node(number), wanted))

    def statfs(self, _: int, __: Message) -> Reply:
        at = statfs(self.tree)
        return messages.statfs(at.f_blocks, at.f_bfree, at.f_bavail, at.f_files, at.f_ffree, at.f_bsize, at.f_frsize)

    def getxattr(self, number: int, message: Message) -> Reply:
        size, _ = abi.GETXATTR_IN.unpack_from(message, HEADER_SIZE)
        name = name_at(message, HEADER_SIZE + abi.GETXATTR_IN.size)
        if name == STATISTICS_NAME and self._node(number) is self.tree.root:
            value = self.settings.counters.statistics(self.settings.facts, nodes=len(self.tree.nodes)).as_json()
        else:
            value = xattrs.get_xattr(self.tree, self._node(number), name)
        return sized(value, size)

    def listxattr(self, number: int, message: Message) -> Reply:
        size, _ = abi.GETXATTR_IN.unpack_from(message, HEADER_SIZE)
        names = xattrs.list_xattrs(self.tree, self._node(number), privileged=is_root(message))
        return sized(b"".join([name + b"\0" for name in names]), size)

    def setxattr(self, number: int, message: Message) -> Reply:
        size, flags = struct.unpack_from("=II", message, HEADER_SIZE)
        names_at = HEADER_SIZE + self._setxattr_size
        name = name_at(message, names_at)
        value_at = names_at + len(name) + 1
        kill_setgid = False
        if self._setxattr_size == abi.SETXATTR_IN.size:
            kill_setgid = bool(abi.SETXATTR_IN.unpack_from(message, HEADER_SIZE)[2] & abi.SETXATTR_ACL_KILL_SGID)
        value = bytes(message[value_at : value_at + size])
        xattrs.set_xattr(self.tree, self._node(number), name, value, flags, kill_setgid=kill_setgid)
        return b""

    def removexattr(self, number: int, message: Message) -> Reply:
        xattrs.remove_xattr(self.tree, self._node(number), name_at(message, HEADER_SIZE))
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
            return data.read(self.tree, node, offset, size, at_once=self._room(size))
        except BlockingIOError:
            raise TakesLongError(Read(node, offset, size)) from None

    def _room(self, size: int) -> memoryview:
        """Good until the next read."""
        if len(self.read_buffer) < size:
            self.read_buffer = memoryview(bytearray(size))
        return self.read_buffer[:size]

    def write(self, number: int, message: Message) -> Reply:
        _, offset, size, flags, _, _, _ = abi.WRITE_IN.unpack_from(message, HEADER_SIZE)
        start = HEADER_SIZE + abi.WRITE_IN.size
        content = memoryview(message)[start : start + size]
        node = self._node(number)
        unprivileged = changer_of(message) if flags & abi.WRITE_KILL_SUIDGID else None
        written = data.write(self.tree, node, offset, content, unprivileged)
        return abi.WRITE_OUT.pack(written, 0)

    def lseek(self, number: int, message: Message) -> Reply:
        _, offset, whence, _ = abi.LSEEK_IN.unpack_from(message, HEADER_SIZE)
        if offset >= 1 << 63:
            raise OSError(ENXIO, "")
        return abi.LSEEK_OUT.pack(data.seek(self.tree, self._node(number), offset, whence))

    def fallocate(self, number: int, message: Message) -> Reply:
        _, offset, length, mode, _ = abi.FALLOCATE_IN.unpack_from(message, HEADER_SIZE)
        data.fallocate(self.tree, self._node(number), mode, offset, length, unprivileged(message))
        return b""

    def copy_file_range(self, number: int, message: Message) -> Reply:
        return abi.WRITE_OUT.pack(self._copy(number, message), 0)

    def copy_file_range_64(self, number: int, message: Message) -> Reply:
        return abi.COPY_FILE_RANGE_OUT.pack(self._copy(number, message))

    def _copy(self, number: int, message: Message) -> int:
        _, offset, target, _, target_offset, length, _ = abi.COPY_FILE_RANGE_IN.unpack_from(message, HEADER_SIZE)
        source_node, target_node = self._node(number), self._node(target)
        who = unprivileged(message)
        return data.copy_range(self.tree, source_node, offset, target_node, target_offset, length, who)

    def fsync(self, number: int, message: Message) -> Reply:
        _, flags, _ = abi.FSYNC_IN.unpack_from(message, HEADER_SIZE)
        data_only = bool(flags & abi.FSYNC_FDATASYNC)
        raise TakesLongError(Sync(self._node(number), data_only))

    def syncfs(self, _: int, __: Message) -> Reply:
        raise TakesLongError(SyncAll())

    # Directories

    def _entries(self, directory: Directory, handle: int, cookie: int) -> Iterator[Entry]:
        if not cookie:
            note_reading(self.tree, directory)
        if self._ordered is not None:
            return self._ordered.read(directory, handle, cookie)
        return read_directory(self.tree, directory, cookie)

    def releasedir(self, _: int, message: Message) -> Reply:
        if self._ordered is not None:
            self._ordered.close(abi.RELEASE_IN.unpack_from(message, HEADER_SIZE)[0])
        return b""

    def readdir(self, number: int, message: Message) -> Reply:
        handle, cookie, size, _, _, _, _ = abi.READ_IN.unpack_from(message, HEADER_SIZE)
        records: list[bytes] = []
        for name, next_cookie, mode_type, child in self._entries(self._directory(number), handle, cookie):
            record = dirent(name, next_cookie, child, mode_type)
            size -= len(record)
            if size < 0:
                break
            records.append(record)
        return b"".join(records)

    def readdirplus(self, number: int, message: Message) -> Reply:
        """Each record is a look-up too, counted only when it is really sent; "." and ".." are none."""
        handle, cookie, size, _, _, _, _ = abi.READ_IN.unpack_from(message, HEADER_SIZE)
        directory = self._directory(number)
        entry_size = len(NO_ENTRY)
        records: list[bytes] = []
        for name, next_cookie, mode_type, child in self._entries(directory, handle, cookie):
            record = dirent(name, next_cookie, child, mode_type)
            size -= entry_size + len(record)
            if size < 0:
                break
            found: tuple[Node, Attributes] | None = None
            if name not in _DOTS:
                with suppress(OSError):
                    found = lookup_attributes(self.tree, directory, name, remember=False)
            records.append(NO_ENTRY if found is None else self._new_entry(found))
            records.append(record)
        return b"".join(records)

    # Flags of files

    def ioctl(self, number: int, message: Message) -> Reply:
        """Compilers and perl ask every file whether it is a terminal: the answer to all but three is a quick no."""
        _, _, command, _, in_size, out_size = abi.IOCTL_IN.unpack_from(message, HEADER_SIZE)
        command &= file_flags.NUMBER
        answer = b""
        if command == file_flags.GET:
            answer = file_flags.pack(data.get_flags(self.tree, self._node(number)))
        elif command == file_flags.SET:
            start = HEADER_SIZE + abi.IOCTL_IN.size
            data.set_flags(self.tree, self._node(number), file_flags.unpack(message[start : start + in_size]))
        elif command == file_flags.GET_EXTENDED:
            answer = file_flags.pack_extended(data.get_flags(self.tree, self._node(number)))
        else:
            raise OSError(ENOTTY, "")
        return abi.IOCTL_OUT.pack(0, 0, 0, 0) + answer[:out_size].ljust(out_size, b"\0")
