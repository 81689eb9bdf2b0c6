"""Bases that are replaced, and which base a build takes by itself; what becomes of their dependency layers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder import user_namespace
from builder.build.job import check_request
from builder.command import base_verbs, build_verb, options
from builder.command.build_options import build_options
from builder.command.verb import Inside, Outside
from builder.debian import apt, base_facts, make_base
from builder.problems import Problem
from builder.session import interactive
from builder.store import bases as bases_module
from builder.store import dependency_layers
from tests.builder.packages import COWBUILD, Base, Person, make_source


@pytest.fixture
def bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bases_module, "bases_directory", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return tmp_path


def make_tree(bases: Path, content: str) -> Path:
    tree = bases / f"made-{content}"
    tree.mkdir()
    (tree / "content").write_text(content)
    return tree


@dataclass(frozen=True)
class Home:
    """A plain user's bases, layers and sessions in a directory of the test's, with one base, called sid."""

    place: Path
    person: Person

    @property
    def named(self) -> Path:
        return self.place / "cowfs/bases/sid"

    @property
    def tree(self) -> Path:
        return (self.named / "current").resolve()

    def layers(self) -> list[Path]:
        return list(self.place.glob("cowfs/dependencies/*"))

    def cowbuild(self, *words: str) -> subprocess.CompletedProcess[str]:
        own = dict.fromkeys(("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "TMPDIR"), str(self.place))
        environment = {**os.environ, **self.person.environment, **own}
        return subprocess.run(
            [*self.person.before, *COWBUILD, *words],
            cwd=self.place,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def build(self, dsc: Path, *options: str) -> None:
        built = self.cowbuild("build", str(dsc), "--base", "sid", "--no-apt-update", *options)
        assert built.returncode == 0, built.stdout[-3000:] + built.stderr


@pytest.fixture
def home(base_of: Callable[..., Base]) -> Iterator[Home]:
    base = base_of("user")
    before = base.owner.before
    made = Home(Path(subprocess.check_output([*before, "mktemp", "-d"], text=True).strip()), base.owner)
    try:
        subprocess.run([*before, "mkdir", "-p", made.named], check=True)
        subprocess.run(["cp", "-a", base.path, made.named / "tree.1"], check=True)
        subprocess.run(["ln", "-s", "tree.1", made.named / "current"], check=True)
        yield made
    finally:
        subprocess.run(["rm", "-rf", made.place], check=True)


@pytest.fixture
def dsc() -> Iterator[Path]:
    """A source package where the plain user can read it."""
    with tempfile.TemporaryDirectory(prefix="cowbuild-test-", dir="/tmp") as place:
        Path(place).chmod(0o755)
        yield make_source(Path(place))


def repository(home: Home) -> None:
    """The base's only archive, in itself; it holds nothing."""
    place = home.tree / "repository"
    place.mkdir(exist_ok=True)
    (place / "Packages").touch()
    owner = home.tree.stat()
    for path in (place, place / "Packages"):
        os.chown(path, owner.st_uid, owner.st_gid)
    (home.tree / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/repository ./\n")


def test_what_replaces_a_base_removes_its_layers_and_an_update_does_only_where_something_changed(
    home: Home, dsc: Path
) -> None:
    repository(home)
    home.build(dsc)
    assert len(home.layers()) == 1
    first = home.tree
    updated = home.cowbuild("update", "sid")
    assert updated.returncode == 0, updated.stderr
    assert "cowbuild: the base sid is up to date" in updated.stdout
    assert home.tree != first
    assert not first.exists()
    assert home.layers() == []

    home.build(dsc)
    second, layers = home.tree, home.layers()
    updated = home.cowbuild("update", "sid")
    assert updated.returncode == 0, updated.stderr
    assert "nothing to update" in updated.stdout
    assert (home.tree, home.layers()) == (second, layers)

    # Nobody listens there, as where there is no network.
    (second / "etc/apt/sources.list").write_text("deb [trusted=yes] http://127.0.0.1:9/ ./\n")
    failed = home.cowbuild("update", "sid")
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[0].startswith("cowbuild: The base sid cannot be updated, and is as it was: ")
    assert "Traceback" not in failed.stderr
    assert (home.tree, home.layers()) == (second, layers)

    # What is saved is another base, too: its layers go, and they go with it. test_bases.py has what else `run` does.
    saved = home.cowbuild("run", "sid", "--save", "--", "true")
    assert saved.returncode == 0, saved.stderr
    assert home.tree != second
    assert home.layers() == []
    home.build(dsc)
    assert len(home.layers()) == 1
    assert home.cowbuild("remove", "sid").returncode == 0
    assert (home.named.exists(), home.layers()) == (False, [])
    assert [path.name for path in home.place.iterdir() if not path.name.startswith("tiny_")] == ["cowfs"]


def fake_tree(place: Path, sources: str, architecture: str = "amd64") -> Path:
    (place / "var/lib/dpkg").mkdir(parents=True)
    (place / "var/lib/dpkg/status").write_text(f"Package: dpkg\nArchitecture: {architecture}\n")
    (place / "etc/apt/sources.list.d").mkdir(parents=True)
    (place / "usr/lib").mkdir(parents=True)
    (place / "usr/lib/os-release").write_text("VERSION_CODENAME=forky\n")
    if sources.startswith("Types:"):
        (place / "etc/apt/sources.list.d/debian.sources").write_text(sources)
    else:
        (place / "etc/apt/sources.list").write_text(sources)
    return place


@pytest.mark.parametrize(
    ("sources", "suite"),
    [
        ("deb http://localhost/debian sid main\n", "sid"),
        ("# deb http://localhost/ wrong main\ndeb [signed-by=/a b=c] http://localhost/ trixie main\n", "trixie"),
        ("deb-src http://localhost/ wrong main\ndeb http://localhost/ bookworm-security main\n", "bookworm"),
        ("Types: deb\nURIs: http://localhost/\nSuites: trixie trixie-updates\nComponents: main\n", "trixie"),
        ("", "forky"),
    ],
)
def test_the_suite_of_a_base_is_that_of_its_sources(tmp_path: Path, sources: str, suite: str) -> None:
    assert base_facts.suite(fake_tree(tmp_path / "tree", sources)) == suite


def test_bases_are_replaced_also_where_layers_can_have_no_place(bases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bases / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(bases / "file"))
    interactive.replace("sid", make_tree(bases, "one"))
    interactive.remove("sid")
    assert bases_module.names() == []


def usual_base(monkeypatch: pytest.MonkeyPatch, *packages: str) -> tuple[str, list[str]]:
    """The base that a build for sid takes by itself, and what of it had to be made."""
    made: list[str] = []

    def run(*words: str) -> int:
        made.append(options.parse(words).target)
        return 0

    monkeypatch.setattr(user_namespace, "check_fuse", lambda: None)
    arguments = options.parse(["build", *packages, "--dist", "sid", "--arch", "amd64"])
    check_request(build_options(arguments, Path(packages[0]), None))
    outside = Outside((), options.parser, (), options.parse, run, user_namespace=True)
    return build_verb.usual_base(arguments, outside), made


def test_a_base_of_the_same_suite_and_architecture_by_another_name_is_taken(
    bases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sid = "deb http://localhost/ sid main\n"
    bases_module.publish("trixie", fake_tree(bases / "made", sid.replace("sid", "trixie")))
    bases_module.publish("sid-i386", fake_tree(bases / "made", sid, "i386"))
    dsc = str(make_source(bases))
    assert usual_base(monkeypatch, dsc) == ("sid-amd64", ["sid-amd64"])
    bases_module.publish("mine", fake_tree(bases / "made", sid))
    capsys.readouterr()
    assert usual_base(monkeypatch, dsc) == ("mine", [])
    assert "there is no base sid-amd64; using mine" in capsys.readouterr().out
    bases_module.publish("second", fake_tree(bases / "made", sid))
    assert usual_base(monkeypatch, dsc) == ("sid-amd64", ["sid-amd64"])
    assert "mine, second" in capsys.readouterr().out
    bases_module.publish("sid-amd64", fake_tree(bases / "made", sid))
    assert usual_base(monkeypatch, dsc) == ("sid-amd64", [])


@pytest.mark.parametrize("option", [("--output", "/missing"), ("--host", "/"), ("--build-path", "/a b")])
def test_no_base_is_made_for_a_build_that_cannot_begin(
    bases: Path, monkeypatch: pytest.MonkeyPatch, option: tuple[str, str]
) -> None:
    # A value that makes no sense by itself is argparse's to refuse.
    with pytest.raises((Problem, SystemExit)):
        usual_base(monkeypatch, str(make_source(bases)), *option)


@pytest.mark.parametrize("what", ["lacks a file", "no dsc", "no tree", "unknown"])
def test_no_base_is_made_for_a_source_that_cannot_be_had(
    bases: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    dsc = make_source(bases)
    package = str(dsc)
    if what == "lacks a file":
        dsc.with_name("tiny_1.tar.xz").unlink()
    elif what == "no dsc":
        dsc.write_text("Source: tiny\n")
    elif what == "no tree":
        package = str(bases / "tiny-1")
        (bases / "tiny-1/debian/control").unlink()
    else:
        package = "no-such-package"
        monkeypatch.setattr(apt, "sources", lambda *_words, **_more: [f"deb-src [trusted=yes] file:{bases} ./"])
        (bases / "Sources").touch()
    with pytest.raises(Problem):
        usual_base(monkeypatch, str(make_source(bases / "good", name="good")), package)
    assert list((bases / "tmp").iterdir()) == []


@pytest.mark.parametrize("name", [True, False])
def test_making_a_base_anew_removes_the_layers_of_the_old_one(
    bases: Path, monkeypatch: pytest.MonkeyPatch, *, name: bool
) -> None:
    target = "sid" if name else str(bases / "tree")

    def create() -> Path:
        made = bases / "made"
        monkeypatch.setattr(make_base, "create", lambda *_: fake_tree(made / "base", ""))
        assert base_verbs.create(options.parse(["create", target, "--suite", "sid"]), Inside((made,))) == 0
        return bases_module.find(target)

    def keep(tree: Path, key: str) -> None:
        place = bases / f"making-{key}"
        (place / "layer/upper").mkdir(parents=True)
        with dependency_layers.published_layer(
            dependency_layers.key_of(tree, key), place / "layer", package=key, base=tree
        ):
            pass

    old = create()
    for key in ("one", "two"):
        keep(old, key)
    assert len(dependency_layers.all_layers()) == 2
    with dependency_layers.layer_in_use(dependency_layers.key_of(old, "one"), 1e9) as used:
        assert used is not None
        if name:
            interactive.remove("sid")
        else:
            shutil.rmtree(old)
        new = create()
        keep(new, "new")
        # In use: it stays until the next time.
        assert sorted(each.package for each in dependency_layers.all_layers()) == ["new", "one"]
    dependency_layers.prune(10**12)
    assert [each.package for each in dependency_layers.all_layers()] == ["new"]
