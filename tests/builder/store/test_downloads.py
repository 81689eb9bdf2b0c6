"""Downloaded packages between builds: by checksum, believed from nobody, within a limit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import hostile_tree
from builder.debian import apt
from builder.debian.dsc import ListedFile
from builder.store import downloads

CONTENT = b"a package"


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "root").mkdir()
    with hostile_tree.directory(tmp_path / "root", "") as descriptor:
        yield descriptor


def listed(name: str = "a_1_all.deb", content: bytes = CONTENT) -> ListedFile:
    return ListedFile(name, len(content), hashlib.sha256(content).hexdigest())


def keep(place: Path, archives: int, *contents: bytes) -> None:
    for number, content in enumerate(contents):
        name = f"p{number}_1_all.deb"
        (place / "root" / name).write_bytes(content)
        assert downloads.take_out([listed(name, content)], archives) == 1
        (place / "root" / name).unlink()
        os.utime(downloads.where() / listed(name, content).sha256, (1000 + number, 1000 + number))


def test_what_was_taken_out_of_one_session_is_put_into_another(tmp_path: Path, archives: int) -> None:
    keep(tmp_path, archives, CONTENT)
    assert downloads.put_in([listed(), listed("b_1_all.deb", b"unknown")], archives) == 1
    assert (tmp_path / "root/a_1_all.deb").read_bytes() == CONTENT
    assert downloads.every()[0].used > 2000
    downloads.remove(["a_1_all.deb", "b_1_all.deb"], archives)
    assert os.listdir(tmp_path / "root") == []


@pytest.mark.parametrize("found", [b"another", b"another package", b""])
def test_a_session_that_leaves_something_else_is_not_believed(tmp_path: Path, archives: int, found: bytes) -> None:
    (tmp_path / "root/a_1_all.deb").write_bytes(found)
    assert downloads.take_out([listed()], archives) == 0
    assert downloads.every() == []
    assert os.listdir(downloads.where()) == []


def test_no_link_is_followed_out_of_a_session_nor_out_of_the_cache(tmp_path: Path, archives: int) -> None:
    (tmp_path / "secret").write_bytes(CONTENT)
    (tmp_path / "root/a_1_all.deb").symlink_to(tmp_path / "secret")
    assert downloads.take_out([listed()], archives) == 0
    (tmp_path / "root/a_1_all.deb").unlink()
    os.mkfifo(tmp_path / "root/a_1_all.deb")
    assert downloads.take_out([listed()], archives) == 0


def test_a_session_gets_nothing_that_is_not_what_its_name_says(tmp_path: Path, archives: int) -> None:
    keep(tmp_path, archives, CONTENT)
    kept = downloads.where() / listed().sha256
    kept.write_bytes(b"z" * len(CONTENT))
    assert downloads.put_in([listed()], archives) == 0
    assert os.listdir(tmp_path / "root") == []
    assert not kept.exists()


def test_what_a_base_has_already_stays(tmp_path: Path, archives: int) -> None:
    keep(tmp_path, archives, CONTENT)
    (tmp_path / "root/a_1_all.deb").write_bytes(b"its own")
    assert downloads.put_in([listed()], archives) == 0
    assert (tmp_path / "root/a_1_all.deb").read_bytes() == b"its own"


def test_those_longest_unused_go_first(tmp_path: Path, archives: int) -> None:
    keep(tmp_path, archives, b"1" * 100, b"2" * 100, b"3" * 100)
    assert len(downloads.prune(300)) == 0
    assert [each.used for each in downloads.prune(250)] == [1000]
    assert [each.used for each in downloads.every()] == [1002, 1001]
    left = downloads.where() / f"{downloads.UNFINISHED}killed"
    left.mkdir()
    (left / "package").write_bytes(b"half")
    downloads.prune(300)
    assert left.exists()  # perhaps somebody writes it
    os.utime(left, (1, 1))
    assert len(downloads.prune(0)) == 2
    assert os.listdir(downloads.where()) == []


@pytest.mark.parametrize(
    "line",
    [
        f"'http://localhost/x' ../../etc/passwd 9 SHA256:{'a' * 64}",
        f"'http://localhost/x' x_1_all.deb 9 MD5Sum:{'a' * 32}",
        f"'http://localhost/x' x_1_all.deb {'9' * 30} SHA256:{'a' * 64}",
        f"'http://localhost/x' .deb 9 SHA256:{'a' * 64}",
        f"'http://localhost/x' x_1.dsc 9 SHA256:{'a' * 64}",
        "Reading package lists...",
    ],
)
def test_what_apt_says_is_read_as_if_anybody_had_said_it(line: str) -> None:
    right = f"'http://localhost/x_1%3a2_all.deb' x_1%3a2_all.deb 9 SHA256:{'b' * 64}"
    assert apt.to_be_downloaded(f"{line}\n{right}\n") == [ListedFile("x_1%3a2_all.deb", 9, "b" * 64)]
