"""Where the microseconds go: processor time of each kind of request in the engine, without kernel or caller.

    python -m benchmarks.handlers

A request's bytes go to its handler, the reply's to /dev/null. The union is that of a session over a base and a
dependency layer, with directories of thousands of names, on /dev/shm. All is done again and again in warm caches: in a
build the same takes two to five times as long. Needs root.
"""

from __future__ import annotations

import os
import struct
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from cowfs.fuse.direct.handlers import Handlers
from cowfs.fuse.engine import EngineSettings
from cowfs.fuse.protocol import abi
from cowfs.fuse.protocol.opcodes import Opcode
from cowfs.union.copyup import copy_root
from cowfs.union.layer import Layer, WritableLayer
from cowfs.union.tree import Tree
from cowfs.union.whiteout import Marks

NAMES = 3000
"""In the directory of each layer."""
COUNT = 2500
CONTENT = b"x" * 3000
LISTING_SIZE = 16384


class Probe:
    """Sends requests of one kind, and prints what one of them took."""

    def __init__(self, tree: Tree) -> None:
        self._handlers = Handlers(tree, EngineSettings())
        self._nowhere = os.open(os.devnull, os.O_WRONLY)

    def send(self, title: str, opcode: Opcode, requests: Iterable[tuple[int, bytes]]) -> list[bytes]:
        messages = [(node, self._message(opcode, node, body)) for node, body in requests]
        handler = self._handlers.table[opcode]
        replies: list[bytes] = []
        started = time.process_time_ns()
        for node, message in messages:
            try:
                reply = handler(node, message) or b""
            except OSError:
                reply = b""
            os.write(self._nowhere, reply)
            replies.append(bytes(reply))
        microseconds = (time.process_time_ns() - started) / 1000 / len(messages)
        print(f"{title:<40}{microseconds:8.1f} us")
        return replies

    @staticmethod
    def _message(opcode: Opcode, node: int, body: bytes) -> bytearray:
        return bytearray(abi.IN_HEADER.pack(abi.IN_HEADER.size + len(body), opcode, 1, node, 0, 0, 1, 0, 0) + body)


def node_of(reply: bytes) -> int:
    number: int = struct.unpack_from("=Q", reply)[0]
    return number


def names(stem: str, count: int = COUNT) -> list[bytes]:
    return [f"{stem}{number}".encode() + b"\0" for number in range(count)]


def change_mode(nodes: list[int]) -> list[tuple[int, bytes]]:
    body = abi.SETATTR_IN.pack(abi.FATTR_MODE, *([0] * 10), 0o600, *([0] * 4))
    return [(node, body) for node in nodes]


def measure(tree: Tree) -> None:
    probe = Probe(tree)
    [entry] = probe.send("LOOKUP, the first in a layer", Opcode.LOOKUP, [(1, b"d\0")])
    folder = node_of(entry)
    ask = abi.GETXATTR_IN.pack(24, 0) + b"security.capability\0"
    creating = abi.CREATE_IN.pack(os.O_WRONLY | os.O_CREAT, 0o100644, 0o22, 0)
    writing = abi.WRITE_IN.pack(0, 0, len(CONTENT), 0, 0, 0, 0) + CONTENT
    renaming = [abi.RENAME2_IN.pack(folder, 0, 0) + old + new for old, new in zip(names("n"), names("m"), strict=True)]
    listing = [(folder, abi.READ_IN.pack(0, 1 + 100 * step, LISTING_SIZE, 0, 0, 0, 0)) for step in range(50)]
    probe.send("LOOKUP of nothing", Opcode.LOOKUP, [(folder, name) for name in names("n")])
    created = probe.send("CREATE", Opcode.CREATE, [(folder, creating + name) for name in names("n")])
    files = [node_of(reply) for reply in created]
    probe.send("WRITE of 3 KB", Opcode.WRITE, [(node, writing) for node in files])
    probe.send("GETXATTR of nothing", Opcode.GETXATTR, [(node, ask) for node in files])
    probe.send("GETATTR", Opcode.GETATTR, [(node, abi.GETATTR_IN.pack(0, 0, 0)) for node in files])
    probe.send("SETATTR of the mode", Opcode.SETATTR, change_mode(files))
    probe.send("RENAME", Opcode.RENAME2, [(folder, body) for body in renaming])
    probe.send("READDIR of some 400 names", Opcode.READDIR, listing)
    probe.send("READDIR of these again", Opcode.READDIR, listing)
    probe.send("UNLINK", Opcode.UNLINK, [(folder, name) for name in names("m")])
    found = probe.send("LOOKUP of a base file", Opcode.LOOKUP, [(folder, name) for name in names("base")])
    below = [node_of(reply) for reply in found]
    probe.send("SETATTR that copies up 3 KB", Opcode.SETATTR, change_mode(below[:1000]))
    probe.send("UNLINK of a base file", Opcode.UNLINK, [(folder, name) for name in names("base")[1000:2000]])
    making = abi.MKDIR_IN.pack(0o755, 0o22)
    probe.send("MKDIR", Opcode.MKDIR, [(folder, making + name) for name in names("k", 1000)])
    probe.send("RMDIR", Opcode.RMDIR, [(folder, name) for name in names("k", 1000)])


def main() -> None:
    os.umask(0)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        top = Path(place)
        for layer in ("base", "dependencies"):
            (top / layer / "d").mkdir(parents=True)
            for number in range(NAMES):
                (top / layer / "d" / f"{layer}{number}").write_bytes(CONTENT)
        for part in ("upper", "work"):
            (top / part).mkdir()
        layers = [Layer(os.fsencode(top / "dependencies"), 1), Layer(os.fsencode(top / "base"), 0)]
        writable = WritableLayer(os.fsencode(top / "upper"), os.fsencode(top / "work"))
        tree = Tree(layers, writable, Marks(b"trusted"))
        try:
            copy_root(tree)
            measure(tree)
        finally:
            tree.close()


if __name__ == "__main__":
    main()
