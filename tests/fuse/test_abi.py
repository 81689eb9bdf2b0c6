"""Every number in cowfs/fuse/protocol/abi.py against the C compiler's view of this machine's linux/fuse.h."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cowfs.fuse.direct.handlers import Handlers
from cowfs.fuse.protocol import abi
from cowfs.fuse.protocol.opcodes import OPCODE_LIMIT, Opcode

NEWER_THAN_THE_OLDEST_HEADER = {
    "fuse_statx": 39,
    "fuse_statx_in": 39,
    "fuse_statx_out": 39,
    "fuse_uring_ent_in_out": 42,
    "fuse_uring_req_header": 42,
    "fuse_uring_cmd_req": 42,
    "fuse_copy_file_range_out": 45,
}
"""Structures cannot be tested by #ifdef, so the protocol version at which they came."""

FIELDS_SINCE = {
    "fuse_open_out.backing_id": 40,
    "fuse_init_out.max_stack_depth": 40,
    "fuse_init_out.request_timeout": 43,
    "fuse_init_out.unused": 43,
}
"""Fields cannot be tested either. Each of these was padding, or unused, in a structure that kept its size."""

ENUM_CONSTANTS_SINCE = {
    "TMPFILE": 37, "STATX": 39, "COPY_FILE_RANGE_64": 45, "NOTIFY_RESEND": 40, "NOTIFY_INC_EPOCH": 44,
    "EXT_GROUPS": 39,
}  # fmt: skip

PLAIN_CONSTANT_PREFIXES = ("FATTR_", "FOPEN_", "GETATTR_", "WRITE_", "OPEN_KILL", "SETXATTR_ACL", "FSYNC_", "IOCTL_")


def constants() -> dict[str, int]:
    """C name -> the value abi.py gives it."""
    named = {f"FUSE_{opcode.name}": int(opcode) for opcode in Opcode}
    named |= {f"FUSE_NOTIFY_{code.name}": int(code) for code in abi.NotifyCode}
    named |= {f"FUSE_{flag.name}": int(flag) for flag in abi.InitFlag}
    for name, value in vars(abi).items():
        if isinstance(value, int) and name.startswith(PLAIN_CONSTANT_PREFIXES):
            named[name if name.startswith(("FATTR_", "FOPEN_")) else f"FUSE_{name}"] = value
    return named | {
        "FUSE_KERNEL_VERSION": abi.KERNEL_VERSION,
        "FUSE_ROOT_ID": abi.ROOT_ID,
        "FUSE_MIN_READ_BUFFER": abi.MIN_READ_BUFFER,
        "FUSE_COMPAT_SETXATTR_IN_SIZE": abi.COMPAT_SETXATTR_IN_SIZE,
        "FUSE_EXT_GROUPS": abi.EXT_GROUPS,
    }


def is_enumerator(name: str) -> bool:
    """Whether C has this name as an enumerator, which the preprocessor does not know."""
    short = name.removeprefix("FUSE_")
    return (
        name == "FUSE_EXT_GROUPS"
        or short in Opcode.__members__
        or (short.startswith("NOTIFY_") and short.removeprefix("NOTIFY_") in abi.NotifyCode.__members__)
    )


def checks() -> dict[str, tuple[int, str, str]]:
    """Label -> (value in abi.py, C expression, preprocessor condition under which the header has it)."""
    table: dict[str, tuple[int, str, str]] = {}
    for name, value in constants().items():
        if is_enumerator(name):
            since = ENUM_CONSTANTS_SINCE.get(name.removeprefix("FUSE_"), 0)
            condition = f"FUSE_KERNEL_MINOR_VERSION >= {since}"
        else:
            condition = f"defined({name})"
        table[name] = (value, f"(unsigned long long)(unsigned)({name})" if value < 2**32 else name, condition)
    for layout in abi.LAYOUTS:
        since = NEWER_THAN_THE_OLDEST_HEADER.get(layout.name, 31)
        condition = f"FUSE_KERNEL_MINOR_VERSION >= {since}"
        if layout is not abi.OLD_INIT_IN:
            table[f"sizeof {layout.name}"] = (layout.size, f"sizeof(struct {layout.name})", condition)
        for field in layout.fields:
            label, expression = f"{layout.name}.{field}", f"offsetof(struct {layout.name}, {field})"
            condition = f"FUSE_KERNEL_MINOR_VERSION >= {FIELDS_SINCE.get(label, since)}"
            table[label] = (layout.offset(field), expression, condition)
    return table


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What the C compiler says of each check that the machine's header knows."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed to check the protocol's structures: apt install gcc"
    folder: Path = tmp_path_factory.mktemp("abi")
    source = folder / "abi.c"
    lines = ["#include <stddef.h>", "#include <stdio.h>", "#include <linux/fuse.h>", "int main(void) {"]
    for label, (_, expression, condition) in checks().items():
        print_it = f'printf("%s=%llu\\n", "{label}", (unsigned long long)({expression}));'
        lines += [f"#if {condition}", print_it, "#endif"]
    source.write_text("\n".join([*lines, "return 0; }", ""]))
    program = folder / "abi"
    subprocess.run([compiler, "-o", str(program), str(source)], check=True)
    output = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return {label: int(value) for label, _, value in (line.partition("=") for line in output.splitlines())}


def test_every_number_is_the_headers(compiled: dict[str, int]) -> None:
    assert len(compiled) > 300, "the header knows most of the protocol"
    ours = {label: checks()[label][0] for label in compiled}
    assert ours == compiled


def test_every_row_of_an_opcode_is_whole() -> None:
    assert max(Opcode) < OPCODE_LIMIT
    for opcode in Opcode:
        assert opcode.shape is not None or not opcode.handler, f"{opcode.name} is answered unread"
        assert not opcode.handler or callable(getattr(Handlers, opcode.handler)), opcode.name
        if opcode.traced is not None and opcode.traced.field:
            assert opcode.shape is not None
            assert opcode.shape.layout is not None
            assert opcode.traced.field in opcode.shape.layout.fields


def test_the_fields_of_setattr_are_those_of_its_layout() -> None:
    assert list(abi.SetattrIn._fields) == abi.SETATTR_IN.fields
