"""Imports go one way: each folder says what it may import, and what only one place may do is done only there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "cowfs").rglob("*.py"), *(ROOT / "builder").rglob("*.py")])


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_folder(name: str) -> bool:
    return (ROOT / name.replace(".", "/")).is_dir()


@cache
def _imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, wherever in it."""
    return frozenset(_found_imports(path))


def _found_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                is_module = (ROOT / below.replace(".", "/")).with_suffix(".py").exists()
                yield below if is_module or _is_folder(below) else node.module


def _own(path: Path) -> set[str]:
    return {
        name for name in _imports(path) if name.split(".")[0] in ("cowfs", "builder", "setup", "benchmarks", "tests")
    }


def _room(module: str) -> str:
    return module if _is_folder(module) else module.rpartition(".")[0]


def _rules() -> dict[str, set[str]]:
    """Folder -> the folders, or single modules, that the sentence in its __init__.py lets it import."""
    rules = {}
    for path in SOURCES:
        if path.name == "__init__.py":
            words = ast.get_docstring(ast.parse(path.read_text())) or ""
            found = re.search(r"^May import: (.*)\.$", words, re.MULTILINE | re.DOTALL)
            assert found, f"{path} does not say what it may import"
            assert words.splitlines()[0].endswith("."), f"{path} does not begin with a sentence"
            rules[_module(path)] = set(re.findall(r"[a-z]+(?:\.[a-z0-9_]+)*(?=[,.) ]|$)", found[1].partition("(")[0]))
    return rules


RULES = _rules()


def _allowed(module: str, imported: str) -> bool:
    room = _room(module)
    return _room(imported) == room or bool({imported, _room(imported)} & RULES[room])


def test_every_module_lies_in_a_room_with_a_rule() -> None:
    assert {_room(_module(path)) for path in SOURCES} == set(RULES)
    for allowed in RULES.values():
        assert all(_is_folder(name) or (ROOT / name.replace(".", "/")).with_suffix(".py").exists() for name in allowed)


@pytest.mark.parametrize("room", RULES)
def test_a_room_imports_only_what_it_says(room: str) -> None:
    for path in SOURCES:
        module = _module(path)
        if _room(module) == room:
            wrong = [name for name in _own(path) if name != room and not _allowed(module, name)]
            assert wrong == [], f"{module} imports {wrong}"


def test_no_rule_allows_more_than_is_used() -> None:
    used = {(_room(_module(path)), name) for path in SOURCES for name in _own(path)}
    for room, allowed in RULES.items():
        for name in allowed:
            assert any(user == room and name in (one, _room(one)) for user, one in used), f"{room} never imports {name}"


def test_only_the_start_of_a_command_stands_on_the_ground_and_looks_up() -> None:
    for path in SOURCES:
        if _room(_module(path)) in ("cowfs", "builder") and path.name != "__main__.py":
            assert not any(name.count(".") > 1 for name in _own(path)), path


def test_rooms_stand_one_above_the_other() -> None:
    graph: dict[str, set[str]] = {room: set() for room in RULES}
    for path in SOURCES:
        if path.name != "__main__.py":
            graph[_room(_module(path))] |= {_room(name) for name in _own(path)} - {_room(_module(path))}
    _assert_no_circle(graph)


def test_there_is_no_circle_of_imports() -> None:
    _assert_no_circle({_module(path): _own(path) for path in SOURCES})


def _assert_no_circle(graph: dict[str, set[str]]) -> None:
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in finished:
            for other in graph.get(name, set()) - {name}:
                visit(other, (*trail, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


def test_the_union_knows_neither_fuse_nor_threads() -> None:
    for path in (ROOT / "cowfs/union").rglob("*.py"):
        for forbidden in ("trio", "pyfuse3", "asyncio", "threading", "ctypes"):
            assert forbidden not in _imports(path), f"{path} imports {forbidden}"


@pytest.mark.parametrize(
    ("library", "users"),
    [
        ("ctypes", {"cowfs.linux"}),
        ("pyfuse3", {"cowfs.fuse.pyfuse3_engine", "cowfs.fuse.pyfuse3_operations", "cowfs.fuse.pyfuse3_values"}),
        ("shtab", {"builder.command.completion"}),
        ("rich", {"builder.screen", "builder.many.board"}),
    ],
)
def test_a_library_is_imported_in_few_places(library: str, users: set[str]) -> None:
    found = {_module(path) for path in SOURCES if library in {name.split(".")[0] for name in _imports(path)}}
    assert found == users


def test_nothing_that_users_install_imports_what_only_developers_have() -> None:
    for path in SOURCES:
        assert not {name.split(".")[0] for name in _own(path)} & {"setup", "benchmarks", "tests"}, path


def test_no_module_is_longer_than_450_lines_and_no_function_than_45() -> None:
    long = {}
    for path in [*SOURCES, *(ROOT / "setup").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        if (lines := len(path.read_text().splitlines())) > 450:
            long[str(path)] = lines
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if (lines := node.end_lineno - node.lineno + 1) > 45:
                    long[f"{path}: {node.name}"] = lines
    assert long == {}


def test_types_are_given_up_only_where_json_enters_and_fields_are_collected() -> None:
    loose = [str(path.relative_to(ROOT)) for path in SOURCES if "dict[str, Any]" in path.read_text()]
    assert loose == ["builder/records.py", "builder/sbuild/variables.py", "cowfs/command/mounting.py"]
