"""Packages for another architecture, made by the compilers of a base for this machine's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.build import buildpackage, cross
from builder.build.job import BuildOptions
from builder.command import options
from builder.debian import architectures
from builder.problems import Problem
from builder.session.surroundings import USUAL
from tests.builder.packages import Workplace, log_of, make_source

pytestmark = pytest.mark.skipif(architectures.machine() != "amd64", reason="written for amd64 machines")

# The package contains its debian/control, to which the head of the program goes.
SCRIPT = """
printf '#include <zlib.h>\\nint main(void) { return zlibVersion() == 0; }' > program.c
"$(dpkg-architecture -qDEB_HOST_GNU_TYPE)-gcc" -o program program.c -lz
echo "# $(od -An -v -tx1 -w20 -N20 program)" >> debian/control
"""
ELF_AARCH64 = 183


@pytest.mark.slow
@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_a_package_is_cross_built_with_a_library_of_the_other_architecture(work: Workplace) -> None:
    dsc = make_source(work.place, SCRIPT, depends="dpkg-dev, zlib1g-dev")
    code, printed = work.build(dsc, "--host", "arm64", "--build", "amd64")
    assert code == 0, printed[-3000:]
    [package] = work.output.glob("tiny_1_arm64.deb")
    assert list(work.output.glob("tiny_1_arm64.changes"))
    subprocess.run(["dpkg-deb", "--extract", package, work.place / "extracted"], check=True)
    last = (work.place / "extracted/usr/share/tiny/control").read_text().splitlines()[-1]
    header = bytes.fromhex(last.removeprefix("#"))
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == ELF_AARCH64
    log = log_of(work.output)
    for field in (
        "Build Architecture: amd64",
        "Build Profiles: cross nocheck",
        "Build Type: any",
        "Foreign Architectures: arm64",
        "Host Architecture: arm64",
        "Machine Architecture: amd64",
    ):
        assert f"\n{field}\n" in log


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text("Package: dpkg\nArchitecture: amd64\n")
    return tmp_path


def test_only_another_architecture_is_cross_built(tree: Path) -> None:
    assert cross.host(None, None, tree) is None
    assert cross.host("amd64", "amd64", tree) is None
    assert cross.host("riscv64", None, tree) == "riscv64"


def test_a_base_of_another_architecture_is_refused(tree: Path) -> None:
    with pytest.raises(Problem, match="is of the architecture amd64, not of arm64") as caught:
        cross.host("riscv64", "arm64", tree)
    assert caught.value.hint == "cowbuild create NAME --arch arm64"
    with pytest.raises(Problem, match="cannot be an architecture"):
        cross.host("../etc", None, tree)


def test_the_callers_build_options_are_kept(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = BuildOptions(dsc=tree, base=tree, output=tree, host="arm64", jobs=3)
    monkeypatch.delenv("DEB_BUILD_OPTIONS", raising=False)
    assert buildpackage.variables(wanted, USUAL)["DEB_BUILD_OPTIONS"] == "nocheck parallel=3"
    assert buildpackage.variables(wanted, USUAL)["CONFIG_SITE"] == "/etc/dpkg-cross/cross-config.arm64"
    monkeypatch.setenv("DEB_BUILD_OPTIONS", "noopt parallel=1")
    assert buildpackage.variables(wanted, USUAL)["DEB_BUILD_OPTIONS"] == "noopt parallel=1"


def test_sbuilds_names_are_understood() -> None:
    arguments = options.parse(["build", "a.dsc", "--host", "arm64", "--build", "amd64", "--build-dir", "/tmp"])
    assert (arguments.host, arguments.arch, arguments.output) == ("arm64", "amd64", "/tmp")
