"""What documents point at exists, and README stays short."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FILE = re.compile(
    r"(?<![\w/.~-])((?:cowfs|builder|tests|benchmarks|setup|docs|debian)/[\w./-]+\.(?:py|md|json|txt|html|svg|png))\b"
)


def pointed_at(document: Path) -> Iterator[Path]:
    text = document.read_text()
    for target in LINK.findall(text):
        if "://" not in target:
            yield document.parent / target
    for name in FILE.findall(text):
        yield ROOT / name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_points_at_exists(document: Path) -> None:
    assert [str(path) for path in pointed_at(document) if not path.exists()] == []


def test_every_document_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    assert [path.name for path in (ROOT / "docs").glob("*.md") if f"({path.name})" not in index] == ["README.md"]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90


def test_comments_name_files_that_exist() -> None:
    """A module that another's docstring points at by its path."""
    listed = subprocess.check_output(["git", "-C", ROOT, "ls-files", "--", "*.py"], text=True).split()
    missing = {
        f"{path}: {name}"
        for path in listed
        if (ROOT / path).exists()
        for name in FILE.findall((ROOT / path).read_text(errors="replace"))
        if not (ROOT / name).exists()
    }
    assert missing == set()
