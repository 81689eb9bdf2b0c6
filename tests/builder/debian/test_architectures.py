"""Bases and builds of other architectures than the machine's, as root and as a plain user."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.debian import architectures
from builder.problems import Problem
from tests.builder.packages import Workplace, make_source

pytestmark = pytest.mark.skipif(architectures.machine() != "amd64", reason="written for amd64 machines")

# Shows what the build's programs are told, and that a compiled program of that architecture runs.
SCRIPT = """
uname -m
printf 'int main(void) { return sizeof(void *); }' > test.c
gcc -o test test.c && ./test
size=$?
echo "pointers: $size"
"""


def build_for(work: Workplace, uname: str, pointers: int) -> None:
    code, printed = work.build(make_source(work.place, SCRIPT))
    assert code == 0, printed[-2000:]
    assert f"\n{uname}\n" in printed
    assert f"\npointers: {pointers}\n" in printed
    [package] = work.output.glob("*.deb")
    architecture = subprocess.check_output(["dpkg-deb", "--field", package, "Architecture"], text=True).strip()
    assert package.name == f"tiny_1_{architecture}.deb"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("work", [("root", "i386"), ("user", "i386")], indirect=True, ids=lambda value: value[0])
def test_i386_is_built_by_the_machine_itself(work: Workplace) -> None:
    build_for(work, "i686", 4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("work", [("root", "arm64"), ("user", "arm64")], indirect=True, ids=lambda value: value[0])
def test_arm64_is_built_by_qemu(work: Workplace) -> None:
    build_for(work, "aarch64", 8)


def test_what_is_missing_is_said_with_its_repair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(architectures, "REGISTRATIONS", tmp_path)
    monkeypatch.setattr(architectures, "BINFMT", tmp_path)
    with pytest.raises(Problem) as caught:
        architectures.enable("riscv64")
    assert "apt-get install" in caught.value.hint
    with pytest.raises(Problem, match="not known"):
        architectures.enable("pdp11")
    architectures.enable("i386")
