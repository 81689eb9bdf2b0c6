"""The report on what a build used as one HTML page that needs nothing else.

The names in it are a build's, so none is trusted: all text goes through `text`.
"""

from __future__ import annotations

from collections.abc import Sequence

from builder.page.elements import Cell, Column, cards, filled, table, text
from builder.trace.treemap import Rectangle, squarified
from builder.trace.usage import Reason, Usage, UsedFile, Verdict, by_directory

_COLOURS = {
    Reason.DECLARED: "declared",
    Reason.NEEDED: "needed",
    Reason.IMPLICIT: "implicit",
    Reason.UNDECLARED: "undeclared",
}
_VERDICTS = {
    Verdict.USED: "good",
    Verdict.NEEDED: "warn",
    Verdict.LOOKED_UP: "warn",
    Verdict.UNTOUCHED: "bad",
    Verdict.MISSING: "warn",
}
_MAP = Rectangle(0, 0, 1120, 460)
_HEADING = 15.0
_DEPTH = 4
"""Names of a directory's path that tell it from others in the treemap."""
_LETTER = 6.4
"""About the width of one."""


def page(title: str, usage: Usage, build_place: str) -> str:
    return filled(
        "builder.trace",
        title=f"What {text(title)} used",
        place=text(build_place),
        cards=_cards(usage),
        dependencies=_dependencies(usage),
        undeclared=_undeclared(usage),
        written=_files("written", usage.written),
        legend=_legend(),
        treemap=_treemap(usage),
        packages=_packages(usage),
        unowned=_files("unowned", usage.unowned),
    )


def _cards(usage: Usage) -> str:
    used = sum(bool(use.files) for use in usage.packages)
    shown = [
        ("", used, "packages used"),
        ("bad" if usage.unused else "good", len(usage.unused), f"of {len(usage.dependencies)} dependencies not used"),
        ("bad" if usage.undeclared else "good", len(usage.undeclared), "used, but undeclared"),
        ("bad" if usage.written else "good", len(usage.written), "files written outside"),
    ]
    return cards(shown)


def _dependencies(usage: Usage) -> str:
    columns = [Column("relation", "Relation"), Column("verdict", "Verdict"), Column("through", "Through")]
    rows = [
        (
            Cell(f"<code>{text(each.text)}</code>"),
            Cell(f'<span class="{_VERDICTS[each.verdict]}">{each.verdict.value}</span>'),
            Cell(text(", ".join(each.through))),
        )
        for each in usage.dependencies
    ]
    return table("dependency", columns, rows)


def _undeclared(usage: Usage) -> str:
    columns = [Column("package", "Package"), Column("file", "File"), Column("use", "Use")]
    rows = [
        (Cell(text(use.name)), Cell(f"<code>{text(file.path)}</code>"), Cell(", ".join(file.uses)))
        for use in usage.undeclared
        for file in use.files
    ]
    return table("undeclared", columns, rows)


def _files(name: str, files: Sequence[UsedFile]) -> str:
    columns = [Column("path", "Path"), Column("use", "Use"), Column("size", "Size", number=True)]
    rows = [
        (Cell(f"<code>{text(file.path)}</code>"), Cell(", ".join(file.uses)), Cell(_size(file.size), file.size))
        for file in files
    ]
    return table(name, columns, rows)


def _packages(usage: Usage) -> str:
    columns = [
        Column("name", "Package"),
        Column("reason", "Why it is there"),
        Column("files", "Files used", number=True),
        Column("executed", "of them run", number=True),
        Column("size", "Size of them", number=True),
        Column("looked-up", "Only looked up", number=True),
    ]
    rows = [
        (
            Cell(f"<code>{text(use.name)}</code>"),
            Cell(f'<span class="chip {_COLOURS[use.reason]}"></span>{use.reason.value}'),
            Cell(str(len(use.files)), len(use.files)),
            Cell(str(use.executed), use.executed),
            Cell(_size(use.size), use.size),
            Cell(str(use.looked_up), use.looked_up),
        )
        for use in usage.packages
    ]
    return table("package", columns, rows)


def _legend() -> str:
    kinds = [*((_COLOURS[reason], reason.value) for reason in Reason), ("unowned", "of no package")]
    return "".join(f'<span><i class="chip {kind}"></i>{what}</span>' for kind, what in kinds)


def _treemap(usage: Usage) -> str:
    groups = [(use.name, _COLOURS[use.reason], use.files) for use in usage.packages if use.size]
    if sum(file.size for file in usage.unowned):
        groups.append(("no package", "unowned", usage.unowned))
    groups.sort(key=lambda group: -sum(file.size for file in group[2]))
    places = squarified([float(sum(file.size for file in files)) for _, _, files in groups], _MAP)
    parts = [_group(*group, place) for group, place in zip(groups, places, strict=True)]
    return (
        f'<svg id="treemap" viewBox="0 0 {_MAP.width:g} {_MAP.height:g}" role="img" '
        f'aria-label="size of the files used, by package and directory">{"".join(parts)}</svg>'
    )


def _group(name: str, colour: str, files: Sequence[UsedFile], place: Rectangle) -> str:
    size = sum(file.size for file in files)
    titled = place.width > 24 and place.height > 2 * _HEADING
    parts = [f"<g>{_rectangle('package ' + colour, place, f'{name}: {_size(size)}')}"]
    if titled:
        parts.append(_label(name, place.x + 5, place.y + 11, place.width - 8))
    inner = place.inside(margin=3, top=_HEADING if titled else 3)
    directories = sorted(by_directory(files, _DEPTH).items(), key=lambda item: -item[1])
    directories = [each for each in directories if each[1]]
    if inner.width > 2 and inner.height > 2 and directories:
        for (directory, bytes_in), part in zip(
            directories, squarified([float(each[1]) for each in directories], inner), strict=True
        ):
            parts.append(_rectangle("directory", part, f"{name} {directory}: {_size(bytes_in)}"))
            if part.width > 60 and part.height > 16:
                parts.append(_label(directory, part.x + 4, part.y + 12, part.width - 6))
    return "".join([*parts, "</g>"])


def _rectangle(kind: str, place: Rectangle, title: str) -> str:
    numbers = f'x="{place.x:.1f}" y="{place.y:.1f}" width="{place.width:.1f}" height="{place.height:.1f}"'
    return f'<rect class="{kind}" {numbers}><title>{text(title)}</title></rect>'


def _label(given: str, x: float, y: float, room: float) -> str:
    letters = int(room / _LETTER)
    shown = given if len(given) <= letters else f"{given[: max(letters - 1, 0)]}…"
    return f'<text x="{x:.1f}" y="{y:.1f}">{text(shown)}</text>' if letters > 2 else ""


def _size(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    return f"{size / 1024:.0f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:.1f} MiB"
