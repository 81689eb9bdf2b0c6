"""A page as a real browser shows it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)


def shown(page: Path, fragment: str = "") -> str:
    """The document after its scripts have run, as HTML."""
    with tempfile.TemporaryDirectory(prefix="cowbuild-browser-") as profile:
        command = ["chromium", *QUIET, f"--user-data-dir={profile}", "--dump-dom", f"{page.as_uri()}{fragment}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def first_cells(document: str, table: str) -> list[str]:
    """The text in the first cell of each row of a table's body."""
    [found] = re.findall(rf'<table id="{table}".*?<tbody>(.*?)</tbody>', document, re.DOTALL)
    cells = re.findall(r"<tr><td[^>]*>(.*?)</td>", found, re.DOTALL)
    return [re.sub(r"<[^>]*>", "", cell) for cell in cells]
