"""rename(2): every kind of entry, from every layer, onto everything, as on an ordinary directory."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import Description, Entry, directory, fifo, file, link_to, symlink
from tests.harness.trial import Trial

KINDS = ("file", "empty", "full", "symlink", "fifo")
ORIGINS = ("base", "layer", "merged")
OBJECTS = tuple(itertools.product(KINDS, ORIGINS))
TARGETS = (("missing", ""), ("whiteout", ""), *OBJECTS)
FLAGS = {"plain": 0, "noreplace": syscalls.RENAME_NOREPLACE, "exchange": syscalls.RENAME_EXCHANGE}


def _in_base(name: str, kind: str, origin: str) -> dict[str, Entry]:
    """What the base holds so that `name` is of this kind and origin after `_add`."""
    if kind == "whiteout":
        return {name: file(b"whited out")}
    if kind == "missing" or origin == "layer":
        return {}
    made = {
        "file": file(b"base " + name[-1].encode()),
        "empty": directory(),
        "full": directory(),
        "symlink": symlink("base-target"),
        "fifo": fifo(),
    }
    inside = {f"{name}/inside": file(b"base inside"), f"{name}/sub/deep": file(b"deep")} if kind == "full" else {}
    if kind == "empty" and origin == "merged":
        inside = {f"{name}/removed": file(b"removed")}
    return {name: made[kind], **inside}


def _add(path: bytes, kind: str, origin: str) -> None:
    """What the layer adds to, or removes from, what `_in_base` made."""
    if kind == "whiteout":
        os.unlink(path)
    elif kind == "missing" or origin == "base":
        return
    elif origin == "layer":
        _make(path, kind)
    elif kind == "file":
        actions.append(path, b" changed")
    elif kind == "empty":
        os.unlink(path + b"/removed")
    elif kind == "full":
        actions.create(path + b"/added", b"layer")
        actions.append(path + b"/inside", b" changed")
    else:
        os.utime(path, ns=(1, 1), follow_symlinks=False)


def _make(path: bytes, kind: str) -> None:
    if kind == "file":
        actions.create(path, b"layer")
    elif kind == "symlink":
        os.symlink(b"layer-target", path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mkdir(path)
        if kind == "full":
            actions.create(path + b"/inside", b"layer")


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("into", ["the same directory", "a new directory", "another base directory"])
def test_every_combination(bench: Workbench, flag: str, into: str) -> None:
    cases = list(itertools.product(OBJECTS, TARGETS))
    description: dict[str, Entry] = {"elsewhere/keep": file()}
    for number, (source, target) in enumerate(cases):
        old, new = _names(number, into)
        description[f"{number:03}/keep"] = file()
        description |= _in_base(old, *source)
        if into != "a new directory":
            description |= _in_base(new, *target)

    def prepare(trial: Trial) -> None:
        if into == "a new directory":
            os.mkdir(trial.path("new"))
        for number, (source, (kind, origin)) in enumerate(cases):
            old, new = _names(number, into)
            _add(trial.path(old), *source)
            if into != "a new directory":
                _add(trial.path(new), kind, origin)
            elif kind not in ("missing", "whiteout"):
                _make(trial.path(new), kind)

    def rename(trial: Trial) -> None:
        for number, (source, target) in enumerate(cases):
            old, new = (trial.path(name) for name in _names(number, into))
            label = f"{number:03}: {' '.join(source)} -> {' '.join(target)}"
            trial.attempt(label, syscalls.rename, old, new, FLAGS[flag])

    bench.compare(description, prepare, rename)


def _names(number: int, into: str) -> tuple[str, str]:
    parent = {"the same directory": f"{number:03}", "a new directory": "new", "another base directory": "elsewhere"}
    return f"{number:03}/old", f"{parent[into]}/{number:03}-new"


TREE: Description = {
    "d/file": file(b"file"),
    "d/sub/deep/leaf": file(b"leaf"),
    "d/linked": file(b"linked"),
    "linked": link_to("d/linked"),
    "other/file": file(b"other"),
    "empty": directory(),
}


def _rename_step(old: str, new: str, flags: int = 0) -> Callable[[Trial], None]:
    return lambda trial: trial.note(
        f"{old} -> {new}", actions.error_of(lambda: syscalls.rename(trial.path(old), trial.path(new), flags))
    )


@pytest.mark.parametrize("between", ["nothing", "remount"])
def test_a_base_directory_renamed_written_renamed_again(bench: Workbench, between: str) -> None:
    """Three stages, with the layer mounted anew in between or not; the tree is compared after each."""
    stages: list[list[Callable[[Trial], object]]] = [
        [
            _rename_step("d", "e"),
            lambda trial: actions.append(trial.path("e/file"), b" one"),
            lambda trial: actions.create(trial.path("e/sub/new"), b"new"),
            lambda trial: os.mkdir(trial.path("d")),
            lambda trial: actions.create(trial.path("d/file"), b"another"),
        ],
        [
            _rename_step("e/sub", "empty/sub"),
            _rename_step("e", "empty/e"),
            lambda trial: os.unlink(trial.path("empty/e/file")),
            lambda trial: actions.append(trial.path("linked"), b" two"),
            lambda trial: actions.append(trial.path("empty/sub/deep/leaf"), b" two"),
        ],
        [
            _rename_step("empty", "full"),
            _rename_step("d", "full/e/file"),
            _rename_step("full/sub/deep", "d"),
            lambda trial: trial.note("links", actions.describe(trial.path("full/e/linked"))),
            lambda trial: actions.append(trial.path("full/e/linked"), b" three"),
            lambda trial: os.rename(trial.path("other"), trial.path("full/sub/other")),
            lambda trial: os.mkdir(trial.path("other")),
        ],
    ]
    bench.compare_stages(TREE, [[*stage] for stage in stages], remount=between == "remount")


def test_directories_exchanged(bench: Workbench) -> None:
    exchange = syscalls.RENAME_EXCHANGE
    bench.compare(
        TREE,
        _rename_step("d", "other", exchange),
        lambda trial: trial.note("list", sorted(os.listdir(trial.path("other")))),
        lambda trial: actions.append(trial.path("other/file"), b"!"),
        _rename_step("other/sub", "linked", exchange),
        _rename_step("empty", "other/file", exchange),
        lambda trial: actions.create(trial.path("linked/new")),
        lambda trial: actions.append(trial.path("other/sub"), b"!"),
    )


@pytest.mark.parametrize("flag", FLAGS)
def test_what_no_file_system_allows(bench: Workbench, flag: str) -> None:
    flags = FLAGS[flag]
    bench.compare(
        TREE,
        _rename_step("d", "d/sub/deep/d", flags),
        _rename_step("d", "d/sub", flags),
        _rename_step("d/sub/deep", "d", flags),
        _rename_step("d/sub/deep/leaf", "d", flags),
        _rename_step("missing", "d", flags),
        _rename_step("missing", "new", flags),
        _rename_step("d", "missing/new", flags),
        _rename_step("d/file", "d/file", flags),
        _rename_step("d", "d", flags),
        _rename_step("d/file/x", "new", flags),
        _rename_step("d/file", "other/file/x", flags),
        _rename_step("d/file", "n" * 256, flags),
        _rename_step("n" * 256, "new", flags),
        _rename_step("d/.", "new", flags),
        _rename_step("d/file", "other/..", flags),
        _rename_step("d/file", "new/", flags),
        _rename_step("d/linked", "linked", flags),
    )


def test_flags_that_no_caller_may_mix(bench: Workbench) -> None:
    both = syscalls.RENAME_EXCHANGE | syscalls.RENAME_NOREPLACE
    bench.compare(
        TREE,
        _rename_step("d/file", "other/file", both),
        _rename_step("d/file", "other/file", 64),
    )


@pytest.mark.root
def test_a_whiteout_cannot_be_left_behind_on_request(bench: Workbench) -> None:
    """RENAME_WHITEOUT would let a user make the layer's own mark; refusing it is what file systems without it do."""
    mount = bench.mounted(TREE)
    old, new = mount.path + b"/d/file", mount.path + b"/d/new"
    assert actions.error_of(lambda: syscalls.rename(old, new, syscalls.RENAME_WHITEOUT)) == "EINVAL"


def test_a_link_renamed_onto_another_name_of_its_file_changes_nothing(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("rename", os.rename, trial.path("linked"), trial.path("d/linked"))
        trial.attempt("describe", actions.describe, trial.path("linked"))
        actions.append(trial.path("linked"), b"!")
        trial.attempt("rename after a change", os.rename, trial.path("linked"), trial.path("d/linked"))
        trial.attempt("describe after a change", actions.describe, trial.path("d/linked"))

    bench.compare(TREE, operations)


def test_a_chain_of_renames_leaves_one_tree(bench: Workbench) -> None:
    """Rotating log files and directories: each name in turn is source, target and free."""

    def operations(trial: Trial) -> None:
        for turn in range(3):
            for number in reversed(range(5)):
                trial.attempt(
                    f"{turn} file {number}", os.rename, trial.path(f"f{number}"), trial.path(f"f{number + 1}")
                )
                trial.attempt(f"{turn} dir {number}", os.rename, trial.path(f"d{number}"), trial.path(f"d{number + 1}"))
            actions.create(trial.path("f0"), b"turn %d" % turn)
            os.mkdir(trial.path("d0"))
            actions.create(trial.path("d0/file"), b"turn %d" % turn)
            trial.attempt(f"{turn} list", lambda: sorted(os.listdir(trial.path())))

    files = {f"f{number}": file(b"%d" % number) for number in range(5)}
    directories = {f"d{number}/x{number}": file(b"%d" % number) for number in range(3)} | {"d3": directory()}
    bench.compare(files | directories, operations)


def test_a_renamed_directory_hides_nothing_and_shows_nothing_old(bench: Workbench) -> None:
    """A directory moved onto a removed one's name must not merge with what the base has there."""

    def operations(trial: Trial) -> None:
        for name in ("other/file", "other"):
            (os.unlink if name == "other/file" else os.rmdir)(trial.path(name))
        trial.attempt("rename", os.rename, trial.path("empty"), trial.path("other"))
        trial.attempt("list", os.listdir, trial.path("other"))
        os.mkdir(trial.path("new"))
        trial.attempt("rename new over", os.rename, trial.path("new"), trial.path("other"))
        trial.attempt("list the new", os.listdir, trial.path("other"))
        trial.attempt("rename a base directory over", os.rename, trial.path("d"), trial.path("other"))
        trial.attempt("list the base directory", lambda: sorted(os.listdir(trial.path("other"))))

    bench.compare(TREE, operations)


def test_a_file_held_open_through_renames_of_its_parents(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        with actions.opened(trial.path("d/sub/deep/leaf"), os.O_RDWR) as leaf:
            os.rename(trial.path("d"), trial.path("empty/d"))
            os.rename(trial.path("empty/d/sub"), trial.path("sub"))
            trial.attempt("write", os.pwrite, leaf, b"LEAF", 0)
            trial.attempt("read", actions.read, trial.path("sub/deep/leaf"))

    bench.compare(TREE, operations)
