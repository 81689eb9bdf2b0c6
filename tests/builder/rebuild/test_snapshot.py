"""A snapshot service that is busy, breaks off, or is hostile."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.problems import Misuse, Problem
from builder.rebuild.buildinfo import Binary
from builder.rebuild.download import Refused
from builder.rebuild.snapshot import File, Snapshot
from tests.builder.rebuild import snapshot_service
from tests.builder.rebuild.snapshot_service import Service, broken, busy, endless, plain, redirect

NEEDLE = Binary("needle", "amd64", "1.0")
CONTENT = bytes(range(256)) * 400


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    file = tmp_path / "needle_1.0_amd64.deb"
    file.write_bytes(CONTENT)
    with snapshot_service.running() as service:
        service.add_package(file)
        yield service


class Client:
    def __init__(self, service: Service, target: Path) -> None:
        self.said: list[str] = []
        self.snapshot = Snapshot(service.address, self.said.append)
        self.target = target

    def fetch(self) -> bytes:
        self.snapshot.fetch(self.snapshot.binary(NEEDLE), self.target)
        assert not self.target.with_name(self.target.name + ".partial").exists()
        return self.target.read_bytes()


@pytest.fixture
def client(service: Service, tmp_path: Path) -> Client:
    return Client(service, tmp_path / "fetched")


def test_a_package_is_found_and_fetched(client: Client, service: Service) -> None:
    assert client.fetch() == CONTENT
    assert service.asked == ["/mr/binary/needle/1.0/binfiles", f"/file/{hashlib.sha1(CONTENT).hexdigest()}"]


def test_a_busy_service_is_asked_again_when_it_says(client: Client, service: Service) -> None:
    service.instead["/file/"] = [busy(1), busy(1)]
    started = time.monotonic()
    assert client.fetch() == CONTENT
    assert time.monotonic() - started >= 2
    assert sum("asked again in 1 s" in line for line in client.said) == 2


def test_a_download_that_broke_off_goes_on_where_it_was(client: Client, service: Service) -> None:
    asked: list[str] = []

    def note(handler: snapshot_service.Handler) -> None:
        asked.append(handler.headers["Range"])
        handler.reply_part(CONTENT)

    service.instead["/file/"] = [broken(CONTENT, 5000), note]
    assert client.fetch() == CONTENT
    assert asked == ["bytes=5000-"]


def test_what_another_attempt_left_is_gone_on_with_or_thrown_away(client: Client) -> None:
    partial = client.target.with_name("fetched.partial")
    partial.write_bytes(CONTENT[:100])
    assert client.fetch() == CONTENT
    client.target.unlink()
    partial.write_bytes(b"of another file")
    assert client.fetch() == CONTENT


def test_a_service_that_is_gone_is_a_problem(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    gone = Snapshot("http://127.0.0.1:9", client.said.append)
    with pytest.raises(Problem, match=r"cannot be had: .*refused"):
        gone.binary(NEEDLE)
    assert len(client.said) == 4


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (plain(b"x" * len(CONTENT)), "is not the file"),
        (endless, "does not end after"),
        (redirect("file:///etc/passwd"), "is not allowed"),
        (redirect("ftp://127.0.0.1/x"), "which is no server"),
        (redirect("/nothing"), "404"),
    ],
)
def test_what_is_not_the_file_is_refused(
    client: Client, service: Service, answer: snapshot_service.Answer, said: str
) -> None:
    service.instead["/file/"] = [answer] * 9
    with pytest.raises(Problem, match=said):
        client.fetch()
    assert not client.target.exists()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"result": 1, "fileinfo": 1}',
        b'{"result": [1, {"hash": []}, {"architecture": "amd64", "hash": "../"}], "fileinfo": {"../": [{"size": 1}]}}',
        b'{"result": [{"architecture": "amd64", "hash": "%s"}], "fileinfo": {"%s": [{"size": -1}]}}'
        % ((b"a" * 40,) * 2),
        b'{"result": [{"architecture": "amd64", "hash": "%s"}], "fileinfo": {"%s": [{"size": 1e99}]}}'
        % ((b"a" * 40,) * 2),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(client: Client, service: Service, answer: bytes) -> None:
    service.instead["/mr/"] = [plain(answer)] * 9
    with pytest.raises(Refused):
        client.snapshot.binary(NEEDLE)


def test_an_endless_answer_is_refused(client: Client, service: Service) -> None:
    service.instead["/mr/"] = [endless] * 9
    with pytest.raises(Refused, match="does not end"):
        client.snapshot.binary(NEEDLE)


def test_a_name_with_slashes_is_no_path(client: Client, service: Service) -> None:
    sha1 = hashlib.sha1(CONTENT).hexdigest()
    told = '{"result": [{"hash": "%s"}], "fileinfo": {"%s": [{"name": "../../x", "size": %d}]}}'
    service.instead["/mr/"] = [plain((told % (sha1, sha1, len(CONTENT))).encode())]
    assert client.snapshot.source("needle", "1.0") == [File(sha1, len(CONTENT), frozenset({"../../x"}))]


@pytest.mark.parametrize("address", ["", "file:///etc", "ftp://x", "http://", "http://a b", "http://x?y"])
def test_what_is_no_address_is_misuse(address: str) -> None:
    with pytest.raises(Misuse):
        Snapshot(address, print)
