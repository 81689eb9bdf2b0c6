"""What the builder reads and others wrote, damaged: a Problem in one sentence or an answer, never anything else."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from builder.build import artifacts, outputs, trace_report
from builder.command import configuration, options
from builder.debian import base_facts, depends, dpkg_database, dsc
from builder.log import timestamp
from builder.problems import Problem
from builder.store import dependency_layers, kept_sessions
from builder.trace import page, usage
from builder.trace.usage import TraceRecord
from tests.harness.mutations import mutated

DIGEST = hashlib.sha256(b"content").hexdigest()
MD5 = hashlib.md5(b"content").hexdigest()

DSC = f"""\
Format: 3.0 (quilt)
Source: tiny
Binary: tiny, libtiny1
Architecture: any all
Version: 1:2.0-3
Maintainer: N\u00f6body <nobody@localhost>
Build-Depends: debhelper-compat (= 13), a [linux-any !hurd-any] | b:native <!nocheck> <cross>,
 c (>> 2~)
Checksums-Sha256:
 {DIGEST} 7 tiny_2.0.orig.tar.xz
 {DIGEST} 7 tiny_2.0-3.debian.tar.xz
Files:
 {MD5} 7 tiny_2.0.orig.tar.xz
 {MD5} 7 tiny_2.0-3.debian.tar.xz
""".encode()

CHANGES = f"""\
Format: 1.8
Source: tiny
Version: 1:2.0-3
Checksums-Sha256:
 {DIGEST} 7 tiny_2.0-3_amd64.buildinfo
 {DIGEST} 7 tiny_2.0-3_amd64.deb
Files:
 {MD5} 7 utils optional tiny_2.0-3_amd64.buildinfo
 {MD5} 7 utils optional tiny_2.0-3_amd64.deb
""".encode()

STATUS = b"""\
Package: dpkg
Essential: yes
Status: install ok installed
Architecture: amd64
Version: 1.22
Pre-Depends: libc6 (>= 2.34), tar (>= 1.28-1~)
Provides: dpkg-tools (= 1), virtual

Package: libc6
Status: install ok installed
Architecture: i386
Depends: a | b:any, libgcc-s1
Conffiles:
 /etc/ld.so.conf 0123 obsolete

Package: gone
Status: deinstall ok config-files
Architecture: amd64
"""
LIST = b"/.\n/bin\n/bin/dpkg\n/etc\n"
DIVERSIONS = b"/bin/dpkg\n/bin/dpkg.real\ndash\n/x\n/y\n:\n"
OS_RELEASE = b'PRETTY_NAME="Debian"\nVERSION_CODENAME=bookworm\nID=debian\n'

TRACE = b"".join(
    json.dumps(line).encode() + b"\n"
    for line in (
        {"cowfs-trace": 1, "bases": ["/base"], "begun": 1.5, "ended": 2},
        {"path": "/usr/bin/dpkg", "type": "file", "uses": ["looked-up", "executed"], "base": 0, "size": 7},
        {"path": "/new\udcff\x1b", "type": "file", "uses": ["created", "written"], "base": None, "size": None},
    )
)

USED = [TraceRecord("/bin/dpkg", "file", ("read",), 0, 7)]

steady = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_sentence(problem: Problem) -> None:
    for line in (str(problem), *problem.hint.splitlines()):
        assert line.isprintable()
    assert len(str(problem)) < 2000


@steady
@given(text=mutated(DSC))
def test_a_dsc(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "tiny.dsc").write_bytes(text)
    try:
        package = dsc.read(tmp_path / "tiny.dsc")
        request = depends.requested(package, depends.Choice("amd64", profiles=frozenset({"cross"})))
    except Problem as problem:
        one_sentence(problem)
        return
    assert all(dsc.FILE_NAME.fullmatch(listed.name) for listed in package.files)
    assert all("/" not in listed.name and 0 <= listed.size < 10**18 for listed in package.files)
    assert request.as_dsc().isprintable() or all(line.isprintable() for line in request.as_dsc().splitlines())
    assert "/" not in package.directory_name


@steady
@given(text=mutated(CHANGES))
def test_a_changes(tmp_path: Path, text: bytes) -> None:
    results, staging = tmp_path / "root/results", tmp_path / "staging"
    shutil.rmtree(tmp_path / "root", ignore_errors=True)
    shutil.rmtree(staging, ignore_errors=True)
    results.mkdir(parents=True)
    staging.mkdir()
    (tmp_path / "secret").write_bytes(b"content")
    (results / "tiny_2.0-3_amd64.changes").write_bytes(text)
    for name in ("tiny_2.0-3_amd64.buildinfo", "tiny_2.0-3_amd64.deb"):
        (results / name).write_bytes(b"content")
    try:
        taken = artifacts.take(tmp_path / "root", "results", staging)
    except Problem as problem:
        one_sentence(problem)
    else:
        assert {path.name for path in staging.iterdir()} == set(taken.names)
    assert {path.name for path in tmp_path.iterdir()} == {"root", "staging", "secret"}


@pytest.mark.parametrize("field", ["Files", "Checksums-Sha256"])
@pytest.mark.parametrize("line", ["", "x", f"{DIGEST} 7", "7 tiny.deb", f"{DIGEST} -7 t.deb", f"{DIGEST} \u0663 t.deb"])
def test_a_short_line_is_named(field: str, line: str) -> None:
    listed = {"Files": f"\n {MD5} 7 a.tar", "Checksums-Sha256": f"\n {DIGEST} 7 a.tar", field: f"\n {line}"}
    with pytest.raises(Problem, match=r"x\.dsc"):
        dsc.listed_files(listed, "x.dsc")


@pytest.mark.parametrize("around", [b"Source: evil\n\n%s", b"%s\n%s", b"x\n%s"])
def test_text_outside_of_what_is_signed_is_refused(tmp_path: Path, around: bytes) -> None:
    signed = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + DSC
    signed += b"-----BEGIN PGP SIGNATURE-----\n\n=abcd\n-----END PGP SIGNATURE-----\n"
    (tmp_path / "tiny.dsc").write_bytes(around.replace(b"%s", signed))
    with pytest.raises(Problem, match="outside of what is signed"):
        dsc.read(tmp_path / "tiny.dsc")


def root_with(place: Path, **files: bytes) -> Path:
    root = place / "root"
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True, exist_ok=True)
    (root / "usr/lib").mkdir(parents=True, exist_ok=True)
    said = {"status": STATUS, "diversions": DIVERSIONS, "listing": LIST, "arch": b"amd64\ni386\n", **files}
    (info / "dpkg.list").write_bytes(said["listing"])
    for name in ("status", "diversions", "arch"):
        (root / "var/lib/dpkg" / name).write_bytes(said[name])
    (root / "usr/lib/os-release").write_bytes(said.get("os_release", OS_RELEASE))
    return root


def judged(root: Path, trace: list[TraceRecord]) -> None:
    found = usage.judge(trace, dpkg_database.read(root, "amd64"), depends.WantedPackages("dpkg, a | b", ""), "/build")
    assert all(line.isprintable() for line in trace_report.table(found, "/build"))
    assert "\x1b" not in page.page("tiny", found, "/build")
    json.dumps(usage.as_json(found)).encode("ascii")


@steady
@given(text=mutated(STATUS))
def test_the_status_of_dpkg(tmp_path: Path, text: bytes) -> None:
    root = root_with(tmp_path, status=text)
    for read in (partial(judged, trace=USED), base_facts.architecture, base_facts.foreign_architectures):
        try:
            read(root)
        except Problem as problem:
            one_sentence(problem)


@steady
@given(text=mutated(LIST, DIVERSIONS, OS_RELEASE))
def test_other_files_of_a_root(tmp_path: Path, text: bytes) -> None:
    root = root_with(tmp_path, listing=text, diversions=text, arch=text, os_release=text)
    judged(root, USED)
    assert dsc.ARCHITECTURE.fullmatch(base_facts.architecture(root))
    assert all(dsc.ARCHITECTURE.fullmatch(each) for each in base_facts.foreign_architectures(root))
    assert base_facts.code_name(root).isprintable()
    assert "/" not in base_facts.code_name(root)


@pytest.mark.parametrize("name", ["var/lib/dpkg/status", "var/lib/dpkg/arch", "usr/lib/os-release"])
@pytest.mark.parametrize("target", ["/dev/zero", "/etc/passwd"])
def test_no_file_of_a_base_leads_out_of_it(tmp_path: Path, name: str, target: str) -> None:
    root = root_with(tmp_path)
    (root / name).unlink()
    (root / name).symlink_to(target)
    assert base_facts.code_name(root) == ("unknown" if name.endswith("os-release") else "bookworm")
    if name.endswith("status"):
        with pytest.raises(Problem):
            base_facts.architecture(root)
    else:
        assert base_facts.foreign_architectures(root) == ([] if name.endswith("arch") else ["i386"])


@steady
@given(text=mutated(TRACE))
def test_a_trace(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "trace").write_bytes(text)
    try:
        judged(root_with(tmp_path), usage.read_trace(tmp_path / "trace"))
    except Problem as problem:
        one_sentence(problem)


KEPT = b'{\n "key": "0123",\n "package": "tiny 1",\n "base": "/base",\n "made": 1700000000.5,\n "size": 4096\n}\n'
SESSION = b"""{
 "name": "kept-1", "package": "tiny 1", "base": "/base", "stage": "build", "made": 1700000000.5,
 "build_directory": "/build/tiny-1"
}
"""


@steady
@given(text=mutated(KEPT))
def test_a_record_of_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (dependency_layers.layers_directory() / "key").mkdir(exist_ok=True)
    (dependency_layers.layers_directory() / "key" / dependency_layers.INFO).write_bytes(text)
    assert all(line.isprintable() for line in dependency_layers.summary(dependency_layers.all_layers()))
    with dependency_layers.layer_in_use("key", 10.0):
        pass
    dependency_layers.prune(2**62)


@steady
@given(text=mutated(SESSION))
def test_a_record_of_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (kept_sessions.make_sessions_directory() / "kept-1").mkdir(exist_ok=True)
    (kept_sessions.sessions_directory() / "kept-1" / kept_sessions.INFO).write_bytes(text)
    for each in kept_sessions.every():
        assert each.directory == kept_sessions.sessions_directory() / "kept-1"
        assert f"{each.name:48} {timestamp(each.made)}  {each.stage:12} {each.base}".isprintable()


TOML = b"""\
quiet = true
[build]
output = "/tmp"
jobs = 3
time-limit = 1.5
add-depends = ["a", "b"]
purge-session = "never"
[create]
components = "main,contrib"
"""


@steady
@given(text=mutated(TOML))
def test_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("builder.private.check_only_root_writes", lambda _path: None)
    configuration.user_file().parent.mkdir(exist_ok=True)
    configuration.user_file().write_bytes(text)
    top = options.parser()
    try:
        settings_read = configuration.read(top)
        configuration.from_text(configuration.as_text(settings_read), top)
        configuration.as_toml(configuration.in_force(top, settings_read))
    except Problem as problem:
        one_sentence(problem)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("package")
    (place / "tree/DEBIAN").mkdir(parents=True)
    (place / "tree/DEBIAN/control").write_text(
        "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: N <n@localhost>\nDescription: x\n"
    )
    command = ("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(place / "tree"), str(place / "tiny.deb"))
    subprocess.run(command, check=True, capture_output=True)
    return (place / "tiny.deb").read_bytes()


def test_a_package_that_is_there(tmp_path: Path, package: bytes) -> None:
    there, fresh = tmp_path / "tiny_1_all.deb", tmp_path / "fresh"
    fresh.write_bytes(b"fresh")
    names = outputs.Names("tiny", "1")

    @settings(deadline=None, max_examples=30)
    @given(text=mutated(package))
    def each(text: bytes) -> None:
        there.write_bytes(text)
        names.replaceable(there, fresh, source_built=False)

    each()


@pytest.mark.parametrize("read", [dsc.read, usage.read_trace])
@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"\xff" * 1000, b"\n" * 1000])
def test_what_is_nothing_of_the_kind(tmp_path: Path, read: Callable[[Path], object], content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    try:
        read(tmp_path / "file")
    except Problem as problem:
        one_sentence(problem)
