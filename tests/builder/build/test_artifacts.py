"""Artifacts of a build that may be hostile."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from builder.build import artifacts
from builder.problems import Problem


class Hostile:
    """A session's root in which a build wrote a .changes and what it names."""

    def __init__(self, place: Path) -> None:
        self.root = place / "root"
        self.results = self.root / "build/results"
        self.staging = place / "staging"
        self.results.mkdir(parents=True)
        self.staging.mkdir()
        (place / "secret").write_bytes(b"content")

    def changes(self, name: str, content: bytes = b"content") -> None:
        digest = hashlib.sha256(content).hexdigest()
        (self.results / "x_1_amd64.changes").write_text(
            f"Format: 1.8\nSource: x\nVersion: 1\nChecksums-Sha256:\n {digest} {len(content)} {name}\n"
            f"Files:\n d41d8cd98f00b204e9800998ecf8427e {len(content)} misc optional {name}\n"
        )

    def take(self) -> artifacts.Artifacts:
        return artifacts.take(self.root, "build/results", self.staging)


@pytest.fixture
def hostile(tmp_path: Path) -> Hostile:
    return Hostile(tmp_path)


def test_artifacts_are_taken_and_published(hostile: Hostile, tmp_path: Path) -> None:
    hostile.changes("x_1_amd64.deb")
    (hostile.results / "x_1_amd64.deb").write_bytes(b"content")
    taken = hostile.take()
    assert taken.names == ("x_1_amd64.changes", "x_1_amd64.deb")
    (tmp_path / "output").mkdir()
    (tmp_path / "output/x_1_amd64.deb").symlink_to(tmp_path / "secret")
    artifacts.publish(taken, tmp_path / "output")
    assert (tmp_path / "output/x_1_amd64.deb").read_bytes() == b"content"
    assert not (tmp_path / "output/x_1_amd64.deb").is_symlink()
    assert (tmp_path / "secret").read_bytes() == b"content"
    assert sorted(os.listdir(tmp_path / "output")) == ["x_1_amd64.changes", "x_1_amd64.deb"]


@pytest.mark.parametrize("name", ["../../../secret", "/etc/hostname", ".."])
def test_a_changes_that_names_files_elsewhere_is_refused(hostile: Hostile, name: str) -> None:
    hostile.changes(name)
    with pytest.raises(Problem, match="forbidden name"):
        hostile.take()


def test_an_artifact_that_is_a_link_is_refused(hostile: Hostile, tmp_path: Path) -> None:
    hostile.changes("x.deb")
    (hostile.results / "x.deb").symlink_to(tmp_path / "secret")
    with pytest.raises(Problem, match="cannot be taken"):
        hostile.take()
    assert os.listdir(hostile.staging) == ["x_1_amd64.changes"]


def test_an_artifact_that_is_a_fifo_is_refused_at_once(hostile: Hostile) -> None:
    hostile.changes("x.deb")
    os.mkfifo(hostile.results / "x.deb")
    with pytest.raises(Problem, match="cannot be taken"):
        hostile.take()


@pytest.mark.parametrize("content", [b"c0ntent", b"content and more", b"c"])
def test_an_artifact_that_is_not_as_listed_is_refused(hostile: Hostile, content: bytes) -> None:
    hostile.changes("x.deb")
    (hostile.results / "x.deb").write_bytes(content)
    with pytest.raises(Problem):
        hostile.take()


def test_a_results_directory_that_is_a_link_is_refused(hostile: Hostile, tmp_path: Path) -> None:
    hostile.changes("x.deb")
    hostile.results.rename(tmp_path / "elsewhere")
    hostile.results.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"elsewhere|results"):
        hostile.take()


def test_no_changes_or_two_are_refused(hostile: Hostile) -> None:
    with pytest.raises(Problem, match=r"0 \.changes"):
        hostile.take()
    hostile.changes("x.deb")
    (hostile.results / "y_1_amd64.changes").touch()
    with pytest.raises(Problem, match=r"2 \.changes"):
        hostile.take()
