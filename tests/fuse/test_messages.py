"""Messages as the kernel sends them, byte by byte, and replies as it wants them."""

from __future__ import annotations

import os

import pytest

from cowfs.fuse.protocol import abi, messages
from cowfs.fuse.protocol.abi import InitFlag
from cowfs.fuse.protocol.opcodes import Opcode
from cowfs.union.attrs import Attributes

MKDIR = bytes.fromhex(
    "34000000 09000000"  # length 52, opcode 9
    "0c00000000000000"  # unique 12
    "0200000000000000"  # node 2
    "e8030000 64000000 67120000"  # uid 1000, gid 100, pid 4711
    "0000 0000"  # no extension
    "ed410000 12000000"  # mode 040755, umask 022
    "75737200"  # "usr"
)

RENAME2 = bytes.fromhex(
    "3f000000 2d000000 0d00000000000000 0100000000000000 00000000 00000000 00000000 0000 0000"
    "0300000000000000 02000000 00000000"  # into node 3, RENAME_EXCHANGE
    "6f6c6400 c3a900"  # "old", "é"
)

WRITE = bytes.fromhex(
    "53000000 10000000 0e00000000000000 0700000000000000 00000000 00000000 01000000 0000 0000"
    "0000000000000000 0010000000000000"  # handle 0, offset 4096
    "03000000 04000000"  # 3 bytes, kill setuid and setgid
    "0000000000000000 01000000 00000000"  # no lock owner, O_WRONLY
    "616263"
)

CREATE_WITH_GROUPS = bytes.fromhex(
    "4a000000 23000000 0f00000000000000 0100000000000000 00000000 00000000 01000000"
    "0200 0000"  # an extension of 2 * 8 bytes
    "c1000000 a4810000 12000000 00000000"  # flags, mode 0100644, umask 022, nothing
    "6100"  # "a"
    "10000000 20000000 01000000 05000000"  # 16 bytes, EXT_GROUPS, one group: 5
)

ATTRIBUTES = Attributes(
    ino=7, mode=0o100644, nlink=2, uid=1000, gid=100, rdev=0, size=5, blocks=8, blksize=131072,
    atime_ns=-1, mtime_ns=1_500_000_000_000_000_007, ctime_ns=3,
)  # fmt: skip


def test_a_directory_request_has_numbers_and_one_name() -> None:
    request = messages.decode(MKDIR)
    assert (request.opcode, request.unique, request.node) == (Opcode.MKDIR, 12, 2)
    assert (request.uid, request.gid, request.pid) == (1000, 100, 4711)
    assert request.fields == {"mode": 0o40755, "umask": 0o22}
    assert request.names == {"name": b"usr"}


def test_a_rename_has_two_names() -> None:
    assert messages.decode(RENAME2).names == {"old": b"old", "new": "é".encode()}


def test_the_extension_is_no_part_of_the_name() -> None:
    request = messages.decode(CREATE_WITH_GROUPS)
    assert request.names == {"name": b"a"}
    assert request.data == b""


def test_data_follows_the_structure() -> None:
    assert messages.decode(WRITE).data == b"abc"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (MKDIR, "#12 MKDIR node 2 mode=0o40755 umask=0o22 name='usr' by 1000:100 pid 4711"),
        (RENAME2, "#13 RENAME2 node 1 newdir=3 flags=2 old='old' new='é'"),
        (WRITE, "#14 WRITE node 7 offset=4096 size=3 write_flags=4 flags=1 +3 bytes by 0:0 pid 1"),
        (MKDIR[:-1], "malformed: a request says it has 52 bytes and has 51"),
        (b"", "malformed: a request of 0 bytes is shorter than its header"),
    ],
)
def test_a_request_prints_itself_as_one_line(message: bytes, line: str) -> None:
    assert messages.describe(message) == line


def test_an_unknown_opcode_is_described_too() -> None:
    header = abi.IN_HEADER.pack(40, 4000, 5, 1, 0, 0, 0, 0, 0)
    assert messages.describe(header) == "#5 opcode 4000 node 1"


@pytest.mark.parametrize(
    ("opcode", "body", "complaint"),
    [
        (Opcode.LOOKUP, b"no end", "LOOKUP has no end of its name"),
        (Opcode.LOOKUP, b"name\0more", "LOOKUP has 4 bytes too many"),
        (Opcode.MKDIR, b"1234", "fuse_mkdir_in needs 8 bytes and 4 came"),
    ],
)
def test_a_malformed_request_is_refused(opcode: Opcode, body: bytes, complaint: str) -> None:
    message = abi.IN_HEADER.pack(40 + len(body), opcode, 1, 1, 0, 0, 0, 0, 0) + body
    with pytest.raises(messages.ProtocolError, match=complaint):
        messages.decode(message)


def test_setxattr_is_shorter_without_the_extension() -> None:
    body = (4).to_bytes(4, "little") + bytes(4)
    for extended in (False, True):
        whole = body + bytes(8 if extended else 0) + b"user.a\0" + b"1234"
        message = abi.IN_HEADER.pack(40 + len(whole), Opcode.SETXATTR, 1, 1, 0, 0, 0, 0, 0) + whole
        request = messages.decode(message, setxattr_ext=extended)
        assert (request.names["name"], request.data) == (b"user.a", b"1234")


def test_an_entry_holds_number_times_and_attributes() -> None:
    forever = "ffffff7f00000000"
    assert messages.entry(ATTRIBUTES) == bytes.fromhex(
        f"0700000000000000 0000000000000000 {forever} {forever} 00000000 00000000"
        "0700000000000000 0500000000000000 0800000000000000"  # ino, size, blocks
        "ffffffffffffffff 002f685900000000 0000000000000000"  # accessed before 1970, modified 2017, changed 1970
        "ffc99a3b 07000000 03000000"  # their nanoseconds
        "a4810000 02000000 e8030000 64000000 00000000 00000200 00000000"  # mode, links, uid, gid, rdev, blksize
    )


def test_a_directory_record_is_padded_to_eight_bytes() -> None:
    record = messages.dirent(b"abc", 9, 7, 0o040000)
    assert record == bytes.fromhex("0700000000000000 0900000000000000 03000000 04000000 6162630000000000")
    assert len(messages.dirent(b"12345678", 1, 1, 0)) == 32


def test_the_upper_flags_count_only_where_the_kernel_sends_them() -> None:
    def init(flags: int, flags2: int, size: int) -> InitFlag:
        body = abi.INIT_IN.pack(7, 45, 131072, flags, flags2, b"")[:size]
        header = abi.IN_HEADER.pack(40 + len(body), Opcode.INIT, 1, 0, 0, 0, 0, 0, 0)
        return messages.decode_init(header + body).flags

    supplementary_group = InitFlag.CREATE_SUPP_GROUP >> 32
    assert InitFlag.CREATE_SUPP_GROUP in init(InitFlag.INIT_EXT, supplementary_group, 64)
    assert InitFlag.CREATE_SUPP_GROUP not in init(0, supplementary_group, 64)
    assert init(InitFlag.INIT_EXT | 1, 0, 16) == InitFlag.INIT_EXT | InitFlag.ASYNC_READ


def test_forgets_come_in_batches() -> None:
    body = bytes.fromhex("02000000 00000000 0500000000000000 0100000000000000 0600000000000000 0300000000000000")
    header = abi.IN_HEADER.pack(80, Opcode.BATCH_FORGET, 1, 0, 0, 0, 0, 0, 0)
    assert list(messages.decode_forgets(header + body)) == [(5, 1), (6, 3)]


def test_a_device_number_and_a_birth_time_travel_in_statx() -> None:
    attributes = ATTRIBUTES._replace(rdev=os.makedev(1, 3))
    reply = messages.statx(attributes, 2_000_000_001)
    stat = dict(zip(abi.STATX.fields, abi.STATX.unpack_from(reply, abi.STATX_OUT.offset("stat")), strict=True))
    assert (stat["rdev_major"], stat["rdev_minor"]) == (1, 3)
    assert (stat["btime.tv_sec"], stat["btime.tv_nsec"]) == (2, 1)
    assert stat["mask"] == 0xFFF
    unknown = messages.statx(attributes, None)
    assert abi.STATX.unpack_from(unknown, abi.STATX_OUT.offset("stat"))[0] == 0x7FF
