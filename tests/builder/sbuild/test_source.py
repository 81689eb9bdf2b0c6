"""What is named on sbuild's command line, as it becomes a .dsc; without a build."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from builder.problems import Misuse, Problem
from builder.sbuild import source
from builder.sbuild.variables import defaults
from tests.builder.conftest import Recording
from tests.builder.packages import make_source


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def served(place: Path, listed: str, content: bytes = b"x") -> str:
    """The address of a .dsc that lists one file, of one byte."""
    (place / listed).write_bytes(content)
    (place / "tiny_1.dsc").write_text(
        "Format: 3.0 (native)\nSource: tiny\nVersion: 1\nArchitecture: any\n"
        f"Checksums-Sha256:\n {hashlib.sha256(content).hexdigest()} 1 {listed}\nFiles:\n {'0' * 32} 1 {listed}\n"
    )
    return f"file://{place}/tiny_1.dsc"


@contextmanager
def http_server(place: Path) -> Iterator[str]:
    handler = functools.partial(Recording, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_dsc_at_an_address_is_here_with_its_files(here: Path, tmp_path: Path) -> None:
    settled = source.settle([served(tmp_path, "tiny_1.tar.xz")], {**defaults(), "distribution": "sid"})
    assert settled == source.Source(str(here / "tiny_1.dsc"), "sid", here)
    assert {path.name for path in here.iterdir()} == {"tiny_1.dsc", "tiny_1.tar.xz"}


@pytest.mark.parametrize("listed", ["Makefile", ".bashrc", "other_1.tar.xz"])
def test_what_an_address_lists_takes_the_place_of_nothing_else(here: Path, tmp_path: Path, listed: str) -> None:
    (here / listed).write_text("mine")
    with pytest.raises(Problem, match=r"is no name of a file of tiny 1|forbidden name"):
        source.settle([served(tmp_path, listed)], {**defaults(), "distribution": "sid"})
    assert [(path.name, path.read_text()) for path in here.iterdir()] == [(listed, "mine")]


def test_an_address_gives_no_more_than_its_dsc_says(here: Path, tmp_path: Path) -> None:
    settings = {**defaults(), "distribution": "sid"}
    address = served(tmp_path, "tiny_1.tar.xz", b"x" * (1 << 20))
    with http_server(tmp_path) as server:
        for each in (address, f"{server}/tiny_1.dsc"):
            with pytest.raises(Problem, match=r"Could not download .*/tiny_1.tar.xz") as raised:
                source.settle([each], settings)
            assert "It may have 1 bytes at most." in raised.value.hint
    assert list(here.iterdir()) == []


def test_a_tree_is_packed_into_its_parent(here: Path) -> None:
    make_source(here, "true")
    for made in here.glob("tiny_1*"):
        made.unlink()
    settled = source.settle(["tiny-1"], {**defaults(), "clean_source": 0})
    # sbuild's artifacts of a tree that one is not in come to where one is.
    assert settled == source.Source(str(here / "tiny_1.dsc"), "unstable", here)
    assert {path.name for path in here.iterdir()} == {"tiny-1", "tiny_1.dsc", "tiny_1.tar.xz"}


def test_from_within_a_tree_all_goes_to_its_parent(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_source(here, "true")
    monkeypatch.chdir(here / "tiny-1/debian")
    settled = source.settle([".."], {**defaults(), "distribution": "sid", "clean_source": 0})
    assert (settled.output, settled.distribution) == (here, "sid")
    elsewhere = {**defaults(), "clean_source": 0, "build_dir": "/srv"}
    assert source.settle([".."], elsewhere).output == Path("/srv")


@pytest.mark.parametrize(
    ("packages", "said"), [(["a", "b"], "Only one build is permitted"), (["hello"], "No distribution defined")]
)
@pytest.mark.usefixtures("here")
def test_what_sbuild_refuses(packages: list[str], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        source.settle(packages, defaults())
