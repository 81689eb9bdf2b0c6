"""Files from a snapshot service, kept among the downloads."""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path

import pytest

from builder.debian.dsc import ListedFile
from builder.problems import Problem
from builder.store import downloads, fetched_files

CONTENT = b"a package"
SHA1 = hashlib.sha1(CONTENT).hexdigest()
FILE = ListedFile("a_1_all.deb", len(CONTENT), "")


class Service:
    def __init__(self) -> None:
        self.asked = 0

    def fetch(self, target: Path) -> None:
        self.asked += 1
        target.write_bytes(CONTENT)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    return Service()


def test_what_was_fetched_once_is_not_asked_for_again(tmp_path: Path, service: Service) -> None:
    for name in ("1", "2"):
        found = fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / name, service.fetch)
        assert found == tmp_path / name / FILE.name
        assert found.read_bytes() == CONTENT
    assert service.asked == 1
    assert [each.path.name for each in downloads.every()] == [hashlib.sha256(CONTENT).hexdigest()]


@pytest.mark.parametrize("known", ["", "../../x", hashlib.sha256(b"another").hexdigest()])
def test_a_record_that_is_wrong_is_not_believed(tmp_path: Path, service: Service, known: str) -> None:
    fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / "1", service.fetch)
    (fetched_files.where() / SHA1).write_text(known)
    (downloads.where() / hashlib.sha256(b"another").hexdigest()).write_bytes(b"another")
    found = fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / "2", service.fetch)
    assert found.read_bytes() == CONTENT
    assert service.asked == 2


def test_what_was_pruned_is_fetched_again(tmp_path: Path, service: Service) -> None:
    fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / "1", service.fetch)
    downloads.prune(0)
    fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / "2", service.fetch)
    assert service.asked == 2


def test_what_cannot_be_fetched_leaves_nothing_that_is_believed(tmp_path: Path, service: Service) -> None:
    def fails(target: Path) -> None:
        target.with_name(target.name + ".partial").write_bytes(b"a")
        raise Problem("it broke off")

    with pytest.raises(Problem, match="broke off"):
        fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / "1", fails)
    assert fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / "1", service.fetch).read_bytes() == CONTENT


def test_what_broke_off_goes_when_nobody_goes_on_with_it(tmp_path: Path, service: Service) -> None:
    fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / "1", service.fetch)
    place = fetched_files.where()
    left = [place / f"{digit * 40}.fetched{more}" for digit, more in (("1", ".partial"), ("2", ""))]
    for path in left:
        path.write_bytes(b"a")
    os.utime(left[0], (0, 0))
    # Another rebuild removes what is old, and who asks for it everything.
    downloads.prune(0)
    fetched_files.kept_or_fetched(FILE, SHA1, tmp_path / "2", service.fetch)
    assert [path.exists() for path in left] == [False, True]
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fetched_files.prune()
        assert left[1].exists()
    fetched_files.prune()
    assert {path.name for path in place.iterdir()} == {"lock", SHA1}
    downloads.prune(0)
    fetched_files.prune()
    assert {path.name for path in place.iterdir()} == {"lock"}
