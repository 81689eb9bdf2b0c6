"""The manual pages are made from --help and are as man(1) wants them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder.command import configuration, options
from setup import manual


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("man")
    manual.write(place)
    return place


def shown(page: Path) -> str:
    """As man(1) shows it on a wide terminal; whatever it complains of is a failure."""
    done = subprocess.run(
        ["man", "--warnings", "--no-hyphenation", "--local-file", page],
        env={"MANWIDTH": "500", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_each_verb_has_a_page_with_all_of_its_options(pages: Path) -> None:
    for verb, parser in configuration.parsers_of(options.parser()).items():
        text = shown(pages / (f"cowbuild-{verb}.1" if verb else "cowbuild.1"))
        for option in configuration.options_of(parser):
            assert f"--{option}" in text
    assert {"cowfs.1", "cowfs-umount.1"} <= {page.name for page in pages.iterdir()}


def test_the_pages_have_nothing_a_linter_would_not_have(pages: Path) -> None:
    for page in pages.iterdir():
        assert "SYNOPSIS" in shown(page)
    lint: list[str | Path] = ["mandoc", "-Tlint", "-Wwarning", *pages.iterdir()]
    linted = subprocess.run(lint, capture_output=True, text=True, check=False)
    # help2man writes dates as month and year.
    assert [line for line in linted.stdout.splitlines() if "cannot parse date" not in line] == []
