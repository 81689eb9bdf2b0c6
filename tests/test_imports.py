"""Imports go one way, and what only one place may do is done only there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "cowfs").rglob("*.py"), *(ROOT / "builder").rglob("*.py")])

# What each package may import of the others; itself and the Python packages aside.
MAY_IMPORT = {
    "cowfs.linux": set(),
    "cowfs.union": {"cowfs.linux"},
    "cowfs.fuse": {"cowfs.linux", "cowfs.union"},
    "builder": {"cowfs", "cowfs.mount", "cowfs.layers", "cowfs.linux"},
}
# In the union, a file may import only what stands before it.
UNION_ORDER = (
    "layer",
    "whiteout",
    "nodes",
    "variation",
    "tree",
    "names",
    "lookup",
    "copyup",
    "readdir",
    "ordered",
    "uses",
    "attrs",
    "xattrs",
    "files",
    "rename",
)


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                is_module = (ROOT / below.replace(".", "/")).with_suffix(".py").exists()
                yield below if is_module or (ROOT / below.replace(".", "/")).is_dir() else node.module


def _own(path: Path) -> set[str]:
    return {name for name in _imports(path) if name.split(".")[0] in ("cowfs", "builder")}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    allowed = {package, *MAY_IMPORT[package]}
    for path in SOURCES:
        module = _module(path)
        if module == package or module.startswith(package + "."):
            for name in _own(path):
                fits = any(name == one or name.startswith(one + ".") for one in allowed if one != "cowfs")
                assert fits or name == "cowfs", f"{module} imports {name}"


def test_the_union_knows_neither_fuse_nor_trio() -> None:
    for path in (ROOT / "cowfs/union").rglob("*.py"):
        words = set(_imports(path))
        for forbidden in ("trio", "pyfuse3", "asyncio", "threading", "ctypes"):
            assert forbidden not in words, f"{path} imports {forbidden}"
        assert not any(name.startswith("cowfs.fuse") for name in words)


def test_the_files_of_the_union_stand_one_above_the_other() -> None:
    for position, name in enumerate(UNION_ORDER):
        later = {f"cowfs.union.{other}" for other in UNION_ORDER[position + 1 :]}
        path = ROOT / "cowfs/union" / f"{name}.py"
        assert path.exists(), name
        assert not later & _own(path), f"{name} imports {later & _own(path)}"


def test_there_is_no_circle_of_imports() -> None:
    graph = {_module(path): _own(path) for path in SOURCES}
    finished: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join([*trail, module])
        if module not in finished:
            for name in graph.get(module, set()) - {module}:
                visit(name, (*trail, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


def test_ctypes_is_used_in_one_module_only() -> None:
    users = {_module(path) for path in SOURCES if "ctypes" in {name.split(".")[0] for name in _imports(path)}}
    assert users <= {"cowfs.linux"}


def test_only_the_session_of_the_builder_works_with_cowfs() -> None:
    users = {_module(path) for path in SOURCES if any(name.split(".")[0] == "cowfs" for name in _own(path))}
    assert {name for name in users if name.startswith("builder")} <= {"builder.session", "builder.completion"}


def test_pyfuse3_is_imported_by_its_engine_only() -> None:
    users = {_module(path) for path in SOURCES if "pyfuse3" in set(_imports(path))}
    assert users <= {"cowfs.fuse.pyfuse"}


def test_no_module_is_longer_than_500_lines() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in long.items() if length >= 500} == {}
