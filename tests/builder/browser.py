"""A page as a real browser shows it."""

from __future__ import annotations

import html
import re
import subprocess
import tempfile
from pathlib import Path

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)

PHONE = 360
"""Pixels."""


def shown(page: Path, fragment: str = "") -> str:
    """The document after its scripts have run, as HTML."""
    with tempfile.TemporaryDirectory(prefix="cowbuild-browser-") as profile:
        command = ["chromium", *QUIET, f"--user-data-dir={profile}", "--dump-dom", f"{page.as_uri()}{fragment}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def width_on_a_phone(page: Path) -> int:
    """How wide what a page shows is, in a window of PHONE pixels, which may have a scroll bar."""
    inside = html.escape(page.read_text(encoding="utf-8"))
    measure = "document.title = document.querySelector('iframe').contentDocument.documentElement.scrollWidth"
    around = page.with_name(f"around-{page.name}")
    around.write_text(
        f'<iframe width="{PHONE}" height="640" style="border: 0" srcdoc="{inside}" onload="{measure}"></iframe>'
    )
    [width] = re.findall("<title>([0-9]+)</title>", shown(around))
    return int(width)


def first_cells(document: str, table: str) -> list[str]:
    """The text in the first cell of each row of a table's body."""
    [found] = re.findall(rf'<table id="{table}".*?<tbody>(.*?)</tbody>', document, re.DOTALL)
    cells = re.findall(r"<tr><td[^>]*>(.*?)</td>", found, re.DOTALL)
    return [re.sub(r"<[^>]*>", "", cell) for cell in cells]
