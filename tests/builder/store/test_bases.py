"""Bases by name: replaced in one step, kept as long as somebody works on them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.problems import Problem
from builder.store import bases as bases_module
from tests.builder.packages import COWBUILD, Base


@pytest.fixture
def bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bases_module, "bases_directory", lambda: tmp_path)
    return tmp_path


def make_tree(bases: Path, content: str) -> Path:
    tree = bases / f"made-{content}"
    tree.mkdir()
    (tree / "content").write_text(content)
    return tree


def test_a_new_tree_takes_over_and_the_old_one_goes(bases: Path) -> None:
    for content in ("one", "two"):
        bases_module.publish("sid", make_tree(bases, content))
        assert (bases_module.find("sid") / "content").read_text() == content
    assert bases_module.names() == ["sid"]
    assert len(list((bases / "sid").glob("tree.*"))) == 1


def test_a_tree_in_use_stays_until_nobody_uses_it(bases: Path) -> None:
    bases_module.publish("sid", make_tree(bases, "one"))
    with bases_module.base_in_use("sid") as tree:
        bases_module.publish("sid", make_tree(bases, "two"))
        assert (tree / "content").read_text() == "one"
        assert (bases_module.find("sid") / "content").read_text() == "two"
        with bases_module.base_in_use("sid") as newer:
            assert newer != tree
    bases_module.publish("sid", make_tree(bases, "three"))
    assert not tree.exists()


def test_a_base_in_use_is_not_removed(bases: Path) -> None:
    bases_module.publish("sid", make_tree(bases, "one"))
    with bases_module.base_in_use("sid") as tree:
        with pytest.raises(Problem, match="still use"):
            bases_module.remove("sid")
        assert (tree / "content").exists()
    assert bases_module.names() == []
    bases_module.publish("sid", make_tree(bases, "two"))
    bases_module.remove("sid")
    assert not (bases / "sid").exists()


@pytest.mark.parametrize("name", ["nothing", "", "-x", "a b"])
def test_an_unknown_name_is_said_to_be_so(bases: Path, name: str) -> None:
    assert bases.exists()
    with pytest.raises(Problem):
        bases_module.find(name)


def test_run_discards_or_saves(base_of: Callable[..., Base]) -> None:
    """As a plain user, whose bases can be put into a directory of the test's."""
    base = base_of("user")
    person = base.owner
    home = Path(subprocess.check_output([*person.before, "mktemp", "-d"], text=True).strip())
    named = home / "cowfs/bases/sid"

    def cowbuild(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **person.environment, "XDG_DATA_HOME": str(home), "TMPDIR": str(home)}
        return subprocess.run(
            [*person.before, *COWBUILD, *words], env=environment, capture_output=True, text=True, check=False
        )

    try:
        subprocess.run([*person.before, "mkdir", "-p", named], check=True)
        subprocess.run(["cp", "-a", base.path, named / "tree.1"], check=True)
        subprocess.run(["ln", "-s", "tree.1", named / "current"], check=True)
        assert cowbuild("list").stdout.startswith("sid ")
        assert cowbuild("run", "sid", "--", "sh", "-c", "echo kept > /root/mark; exit 3").returncode == 3
        assert cowbuild("run", "sid", "--", "test", "-e", "/root/mark").returncode == 1
        assert cowbuild("run", "sid", "--as-builder", "--", "id", "-un").stdout == "cowbuild\n"
        saved = cowbuild("run", "sid", "--save", "--", "sh", "-c", "echo kept > /root/mark")
        assert saved.returncode == 0, saved.stderr
        assert cowbuild("run", "sid", "--", "cat", "/root/mark").stdout == "kept\n"
        assert cowbuild("run", "sid", "--", "grep", "-c", "cowbuild", "/etc/passwd").stdout == "1\n"
        assert len(list(named.glob("tree.*"))) == 1
        assert cowbuild("create", "sid").returncode == 1
        assert cowbuild("remove", "sid").returncode == 0
        assert not named.exists()
        assert [path.name for path in home.iterdir()] == ["cowfs"]
    finally:
        subprocess.run(["rm", "-rf", home], check=True)
