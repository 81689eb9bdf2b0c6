"""What cowfs reads and others wrote, damaged: one sentence or an answer, never anything else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import tarfile
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowfs.daemon import answering, control
from cowfs.daemon.mount_table import Mounted
from cowfs.fuse.statistics import STATISTICS_NAME, NoStatisticsError, read_statistics, statistics_table
from cowfs.layer.directory import remove_tree
from cowfs.layer.metadata import LayerError, identify
from cowfs.layer.view import open_views
from cowfs.tools import diff_text, status
from cowfs.tools.diff import find_changes
from cowfs.tools.import_layer import import_layer
from tests.harness.mutations import TOKENS, mutated
from tests.harness.trees import Description, directory, file, make_tree, symlink
from tests.harness.users import in_child

BASE: Description = {"d/e": file(b"x"), "away": symlink("/etc"), "gone": directory(), "file": file(b"content")}

# Walking trees raises it, which hypothesis notices; so that is done in processes of their own.
pytestmark = pytest.mark.filterwarnings("ignore:The recursion limit will not be reset")

steady = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def metadata(base: Path) -> bytes:
    content = {
        "format": 1,
        "marks": "trusted" if os.geteuid() == 0 else "user",
        "whiteouts": "device",
        "bases": [{"path": str(base), "identity": identify(base).identity}],
        "state": "clean",
    }
    return json.dumps(content, indent=1).encode()


@pytest.fixture
def base(place: Path) -> Path:
    make_tree(str(place / "base"), BASE)
    return place / "base"


@pytest.fixture
def layer(place: Path, base: Path) -> Path:
    made = place / "layer"
    for part in ("upper/d", "upper/gone", "work/links"):
        (made / part).mkdir(parents=True)
    (made / "upper/new").write_bytes(b"new")
    (made / "layer.json").write_bytes(metadata(base))
    return made


def one_sentence(error: LayerError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 20000  # it can have paths in it


@pytest.mark.root
def test_the_metadata_of_a_layer(base: Path, layer: Path) -> None:
    @steady
    @given(text=mutated(metadata(base)))
    def each(text: bytes) -> None:
        (layer / "layer.json").write_bytes(text)
        for look in (status.describe, _changes):
            with contextlib.suppress(OSError):
                try:
                    assert look(layer).replace("\n", "").isprintable()
                except LayerError as error:
                    one_sentence(error)

    in_child(each)


def _changes(layer: Path) -> str:
    with open_views(layer) as views:
        return diff_text.listing(find_changes(views))


@pytest.mark.root
def test_brackets_in_brackets_do_not_end_the_process(layer: Path) -> None:
    """The recursion limit is high where trees are walked, but a JSON parser's recursion is on the C stack."""

    def look() -> None:
        for text in (b"[" * 1_000_000, b'{"format":' * 100_000, b'["]"' + b',["' * 300_000):
            (layer / "layer.json").write_bytes(text)
            for _ in range(2):
                with pytest.raises(LayerError, match="damaged"), open_views(layer):
                    pass

    in_child(look)


ATTRIBUTES = ("opaque", "redirect", "metacopy", "cowfs.origin", "whiteout", "overlay.opaque", "nonsense")
VALUES = (
    *(token[:4096] for token in TOKENS),
    *(b"y", b"x", b"/d", b"/d/../..", b"e", b"1-2", b"0-" + b"9" * 18, b"18446744073709551616-1"),
)


@pytest.mark.root
def test_the_marks_and_the_index_of_a_layer(place: Path, base: Path, layer: Path) -> None:
    """A redirect or an origin that leads anywhere, an index of hard links with any names and targets."""
    names = st.sampled_from([b"1-2", b"1-2.below", b"9" * 30 + b"-1", b"x\n\x1b", b".below", b"1-2-3", b"-.below"])

    @settings(steady, max_examples=25)
    @given(
        marks=st.lists(
            st.tuples(st.sampled_from(["", "d", "gone", "new"]), st.sampled_from(ATTRIBUTES), st.sampled_from(VALUES)),
            max_size=4,
        ),
        index=st.lists(st.tuples(names, st.sampled_from(VALUES)), max_size=3),
    )
    def each(marks: Sequence[tuple[str, str, bytes]], index: Sequence[tuple[bytes, bytes]]) -> None:
        forged, imported = place / "forged", place / "imported"
        for path in (forged, imported):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(layer, forged)
        for where, attribute, value in marks:
            os.setxattr(forged / "upper" / where, f"trusted.overlay.{attribute}", value)
        for name, target in index:
            with contextlib.suppress(OSError, ValueError):
                os.symlink(target, os.fsencode(forged / "work/links") + b"/" + name)
        for look in (lambda: _changes(forged), lambda: import_layer(forged / "upper", imported, [base])):
            with contextlib.suppress(OSError):
                try:
                    look()
                except LayerError as error:
                    one_sentence(error)

    in_child(each)
    assert sorted(os.listdir(base)) == ["away", "d", "file", "gone"]


def archive() -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, fields in (
            ("d", tarfile.DIRTYPE, {"mode": 0o755, "mtime": 1.5}),
            ("d/new", tarfile.REGTYPE, {"size": 700, "pax_headers": {"SCHILY.xattr.user.x": "1", "mtime": "17.5"}}),
            ("d/.wh.e", tarfile.REGTYPE, {}),
            ("gone/.wh..wh..opq", tarfile.REGTYPE, {}),
            ("link", tarfile.SYMTYPE, {"linkname": "../x"}),
            ("hard", tarfile.LNKTYPE, {"linkname": "file"}),
            ("fifo", tarfile.FIFOTYPE, {"devmajor": 1}),
            ("n" * 120, tarfile.REGTYPE, {"uid": 1 << 22, "size": 5}),
        ):
            member = tarfile.TarInfo(name)
            member.type = kind
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return output.getvalue().rstrip(b"\0") + bytes(1024)


def checked(text: bytes) -> bytes:
    """With right checksums in what may be headers: a parser gets no further without."""
    blocks = [text[at : at + 512] for at in range(0, len(text), 512)]
    for at, block in enumerate(blocks):
        if len(block) == 512 and block[257:262] == b"ustar":
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            blocks[at] = block[:148] + b"%06o\0 " % total + block[156:]
    return b"".join(blocks)


@pytest.mark.root
def test_an_archive(place: Path, base: Path) -> None:
    (place / "canary").write_bytes(b"safe")

    def tried(content: bytes) -> None:
        (place / "a.tar").write_bytes(content)
        try:
            import_layer(place / "a.tar", place / "imported", [base])
        except LayerError as error:
            one_sentence(error)
            assert not (place / "imported").exists()
        else:
            remove_tree(place / "imported")
        assert sorted(os.listdir(place)) == ["a.tar", "base", "canary"]
        assert (place / "canary").read_bytes() == b"safe"

    @steady
    @given(text=mutated(archive()), repaired=st.booleans())
    def each(text: bytes, repaired: bool) -> None:
        tried(checked(text) if repaired else text)

    in_child(each)


def imported(place: Path, base: Path, content: bytes) -> str:
    """What is said when an archive is imported."""
    (place / "a.tar").write_bytes(content + bytes(1024))

    def run() -> str:
        try:
            import_layer(place / "a.tar", place / "imported", [base])
        except LayerError as error:
            one_sentence(error)
            return str(error)
        return ""

    return in_child(run)


def _named(name: str, kind: bytes, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member


@pytest.mark.root
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_gigabytes_is_not_read_into_memory(place: Path, base: Path, kind: bytes) -> None:
    assert "header of" in imported(place, base, _named("x", kind, 1 << 40).tobuf(tarfile.GNU_FORMAT))


@pytest.mark.root
def test_a_hole_of_exabytes_takes_no_time(place: Path, base: Path) -> None:
    member = _named("sparse", tarfile.GNUTYPE_SPARSE, 512)
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 512)
    block[483:495] = b"\x80" + ((1 << 62) - 1).to_bytes(11, "big")
    imported(place, base, checked(bytes(block)) + b"x" * 512)  # some file systems take even that
    shutil.rmtree(place / "imported", ignore_errors=True)
    block[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    assert imported(place, base, checked(bytes(block)) + b"x" * 512) == ""
    made = place / "imported/upper/sparse"
    assert made.stat().st_size == 1 << 40
    with made.open("rb") as content:
        assert content.read(600) == b"x" * 512 + bytes(88)


@pytest.mark.root
@pytest.mark.parametrize("moment", ["1e999999999999", "NaN", "-Infinity", "9" * 4000, "1e-999999999999"])
def test_a_time_of_any_kind(place: Path, base: Path, moment: str) -> None:
    member = _named("file", tarfile.REGTYPE, 0)
    member.pax_headers = {"mtime": moment}
    said = imported(place, base, member.tobuf(tarfile.PAX_FORMAT))
    assert "'file'" in said or moment.startswith("1e-")


@pytest.mark.root
def test_what_is_deep_is_removed_and_a_path_of_megabytes_refused(place: Path, base: Path) -> None:
    deep = base / "deep"
    deep.mkdir()
    fd = os.open(deep, os.O_PATH)
    for _ in range(1100):
        os.mkdir("x", dir_fd=fd)
        below = os.open("x", os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert imported(place, base, _named(".wh.deep", tarfile.REGTYPE, 0).tobuf(tarfile.GNU_FORMAT)) == ""
    name = b"x/" * 500_000
    long = _named("././@LongLink", tarfile.GNUTYPE_LONGNAME, len(name)).tobuf(tarfile.GNU_FORMAT)
    shutil.rmtree(place / "imported")
    content = long + name + bytes(-len(name) % 512) + _named("x", tarfile.REGTYPE, 0).tobuf(tarfile.GNU_FORMAT)
    assert "more than 4096 characters" in imported(place, base, content)
    remove_tree(deep)


QUESTIONS = (b'{"snapshot": "/some/where"}\n', b'{"error": "no"}\n', b"{}\n")


@steady
@given(text=mutated(*QUESTIONS))
def test_a_question(text: bytes) -> None:
    asked: list[Path] = []

    async def snapshot(place: Path) -> None:
        asked.append(place)

    answer = trio.run(answering._answer, text[:16384], snapshot)
    assert set(answer) <= {"error"}
    for place in asked:
        assert place.is_absolute()
        with contextlib.suppress(OSError):
            os.stat(place)  # a name that the kernel takes


@steady
@given(text=mutated(*QUESTIONS))
def test_an_answer(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / control.NAME
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def answer() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(4096)
                connection.sendall(text)

        daemon = threading.Thread(target=answer)
        daemon.start()
        try:
            control.ask(tmp_path, {"snapshot": "/x"})
        except LayerError as error:
            one_sentence(error)
        daemon.join()


STATISTICS = b"""{
"mount": {"layer": "/layer", "upper": "/layer/upper", "bases": ["/base"], "temporary": false, "process": 12,
"engine": "direct"}, "opcodes": {"LOOKUP": {"requests": 3, "ns": 5000}}, "slow": 0, "caches": {"nodes": 2}}"""


@pytest.mark.root
@steady
@given(text=mutated(STATISTICS))
def test_what_a_directory_says_of_itself(place: Path, text: bytes) -> None:
    """Anybody can give a directory the attribute by which a mount tells of itself."""
    os.setxattr(place, STATISTICS_NAME, text)
    try:
        found = read_statistics(place)
    except NoStatisticsError:
        return
    statistics_table(found)
    lines = status.table([Mounted(place, found.mount)]).splitlines()
    assert all(line.isprintable() for line in lines)
