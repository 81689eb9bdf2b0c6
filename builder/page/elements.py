"""What pages are made of.

What they tell of is a build's, so none of it is trusted: all text goes through `text`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template
from typing import NamedTuple

from builder.problems import printable


class Column(NamedTuple):
    name: str
    title: str
    number: bool = False


class Cell(NamedTuple):
    """`markup` is HTML already."""

    markup: str
    value: int | None = None


def filled(package: str, *, title: str, **parts: str) -> str:
    """The page.html of a package with these parts, each HTML, between the top and the bottom that all pages have."""

    def read(where: str, name: str) -> Template:
        return Template(resources.files(where).joinpath(name).read_text(encoding="utf-8"))

    def own(name: str) -> str:
        return read("builder.page", name).template

    shared = {"title": title, "style": own("style.css"), "script": own("sort.js")}
    ends = {end: read("builder.page", f"{end}.html").substitute(shared) for end in ("top", "bottom")}
    return read(package, "page.html").substitute(parts, **shared, **ends)


def text(given: str) -> str:
    """Any text as HTML. What cannot be printed is spelt out."""
    return html.escape(printable(given))


def cards(shown: Iterable[tuple[str, int | str, str]]) -> str:
    """Boxes with a figure: its kind (good, bad or none), itself, what it counts."""
    return "".join(f'<div class="card {kind}"><b>{number}</b><span>{what}</span></div>' for kind, number, what in shown)


def table(name: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that can be sorted by each column; `name` begins the ids in it."""
    body = []
    for row in rows:
        cells = [
            f'<td class="number" data-title="{column.title}" data-value="{cell.value}">{cell.markup}</td>'
            if column.number
            else f'<td data-title="{column.title}">{cell.markup}</td>'
            for column, cell in zip(columns, row, strict=True)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    if not body:
        return '<table><tbody><tr><td class="nothing">Nothing.</td></tr></tbody></table>'
    heads = [
        f'<th id="{name}-{column.name}"{" class=" + chr(34) + "number" + chr(34) if column.number else ""}>'
        f'<button type="button">{column.title}</button></th>'
        for column in columns
    ]
    return (
        f'<table id="{name}" class="sortable"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{chr(10).join(body)}</tbody></table>"
    )
