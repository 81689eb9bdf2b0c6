"""Notes which use of a file a request was, as its row in opcodes.py says, for `--trace`; both engines ask here.

A name is looked up once, since the kernel remembers it; a file is opened as often as it is, for with `--trace` the
engines ask to be told. A request that was refused was no use.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeVar

from cowfs.fuse.protocol import abi, messages
from cowfs.fuse.protocol.opcodes import Opcode, Subject
from cowfs.union.lookup import lookup
from cowfs.union.nodes import Directory, Node
from cowfs.union.tree import Tree
from cowfs.union.uses import Use, Uses, opened

Result = TypeVar("Result")
Handler = Callable[[int, bytes | bytearray], bytes | memoryview | None]


class SeenRequest(NamedTuple):
    """What counts of a request: its node, another number in it (flags, a second node), and the names in it."""

    number: int
    other: int = 0
    names: tuple[bytes, ...] = ()


NO_NODE = SeenRequest(0)


class Observer:
    def __init__(self, tree: Tree, uses: Uses) -> None:
        self._tree = tree
        self._uses = uses

    def watch(self, opcode: Opcode, request: SeenRequest, operation: Callable[[], Result]) -> Result:
        """The operation's result; what the request was for is noted when it has done it."""
        traced = opcode.traced
        if traced is None:
            return operation()
        gone = self._removing(request) if traced.subject in (Subject.REMOVED, Subject.MOVED) else None
        result = operation()
        if gone is not None:
            gone()
        match traced.subject:
            case Subject.NODE:
                self._note(request.number, traced.use)
            case Subject.OTHER:
                self._note(request.other, traced.use)
            case Subject.OPENED:
                self._note(request.number, opened(request.other))
            case Subject.NAME:
                self._note_name(request.number, request.names[0], traced.use)
            case Subject.MOVED:
                self._note_name(request.other, request.names[1], traced.use)
        return result

    def _note(self, number: int, use: Use) -> None:
        node = self._tree.nodes.find(number)
        if node is not None and use:
            self._uses.note(node, use)

    def _note_name(self, number: int, name: bytes, use: Use) -> None:
        found = self._find(number, name)
        if found is not None:
            self._uses.note(found[0], use)

    def _removing(self, request: SeenRequest) -> Callable[[], None] | None:
        found = self._find(request.number, request.names[0])
        return None if found is None else self._uses.removing(*found, request.names[0])

    def _find(self, number: int, name: bytes) -> tuple[Node, Directory] | None:
        """The node of a name, and of the directory with this number that it is in."""
        directory = self._tree.nodes.find(number)
        if not isinstance(directory, Directory):
            return None
        with suppress(OSError):
            return lookup(self._tree, directory, name), directory
        return None


def observed(observer: Observer, opcode: Opcode, handler: Handler) -> Handler:
    """A handler of the direct engine, watched."""

    def watched(number: int, message: bytes | bytearray) -> bytes | memoryview | None:
        return observer.watch(opcode, _request(opcode, number, message), partial(handler, number, message))

    return handler if opcode.traced is None else watched


def _request(opcode: Opcode, number: int, message: bytes | bytearray) -> SeenRequest:
    if opcode.traced is None or opcode.traced.subject is Subject.NODE:
        return SeenRequest(number)
    length = abi.IN_HEADER.unpack_from(message)[0]
    decoded = messages.decode(memoryview(message)[:length])
    other = decoded.fields[opcode.traced.field] if opcode.traced.field else 0
    return SeenRequest(number, other, tuple(decoded.names.values()))
