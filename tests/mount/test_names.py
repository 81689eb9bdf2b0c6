"""Names at the limits, in any encoding, and trees deeper than a path can say."""

from __future__ import annotations

import os

import pytest

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.trees import directory, file, symlink
from tests.harness.trial import Trial

ODD_NAMES = (
    b"\xff\xfe not UTF-8",
    b"caf\xe9",
    "caf\u00e9".encode(),
    "cafe\u0301".encode(),
    b"new\nline",
    b"tab\tbell\a",
    b" ",
    b" leading and trailing ",
    b"-rf",
    b"*?[]{}$`'\"\\",
    b"a:b,c=d",
    b"...",
    b".hidden",
    b"..leading",
    b".wh.file",
    b".wh..wh..opq",
    b".fuse_hidden0000000000000001",
    b"#0",
    b"work",
    b"upper",
    b"\x01",
    "\U0001f600".encode() * 63,
)


@pytest.mark.parametrize("origin", ["base", "layer"])
def test_names_of_any_bytes(bench: Workbench, origin: str) -> None:
    def operations(trial: Trial) -> None:
        for name in ODD_NAMES:
            path = trial.path(b"d/" + name)
            if origin == "layer":
                trial.attempt(f"create {name!r}", actions.create, path, name)
            trial.attempt(f"append {name!r}", actions.append, path, b"!")
            trial.attempt(f"read {name!r}", actions.read, path)
            trial.attempt(f"mkdir {name!r}", os.mkdir, trial.path(b"e/" + name))
            trial.attempt(f"rename {name!r}", os.rename, path, trial.path(b"e/" + name + b"/moved"))
            trial.attempt(f"symlink {name!r}", os.symlink, name, path)
            trial.attempt(f"readlink {name!r}", os.readlink, path)
        trial.attempt("list", lambda: sorted(os.listdir(trial.path(b"d"))))

    described = {b"d/" + name: file(name) for name in ODD_NAMES} if origin == "base" else {}
    bench.compare({b"d": directory(), b"e": directory(), **described}, operations)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_names_of_255_bytes_can_do_everything_and_256_nothing(bench: Workbench, kind: str) -> None:
    longest, too_long = b"n" * 255, b"n" * 256

    def operations(trial: Trial) -> None:
        path = trial.path(longest)
        if kind == "file":
            trial.attempt("append", actions.append, path, b"!")
            trial.attempt("link", os.link, path, trial.path(b"m" * 255))
            trial.attempt("unlink", os.unlink, path)
            trial.attempt("create", actions.create, path, b"x")
        else:
            trial.attempt("create inside", actions.create, path + b"/" + longest, b"x")
            trial.attempt("chmod", os.chmod, path, 0o700)
        trial.attempt("rename", os.rename, path, trial.path(b"o" * 255))
        trial.attempt("rename to too long", os.rename, trial.path(b"o" * 255), trial.path(too_long))
        for label, call in (
            ("create", lambda: actions.create(trial.path(too_long))),
            ("mkdir", lambda: os.mkdir(trial.path(too_long))),
            ("symlink", lambda: os.symlink(b"x", trial.path(too_long))),
            ("stat", lambda: os.stat(trial.path(too_long))),
            ("unlink", lambda: os.unlink(trial.path(too_long))),
        ):
            trial.note(label, actions.error_of(call))

    bench.compare({longest: file(b"x") if kind == "file" else directory()}, operations)


def test_symlink_targets_of_every_length(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        for length in (1, 59, 60, 61, 1000, 4095, 4096):
            trial.attempt(f"symlink {length}", os.symlink, b"t" * length, trial.path(b"new%d" % length))
            trial.attempt(f"readlink {length}", os.readlink, trial.path(b"new%d" % length))
        trial.attempt("base link", os.readlink, trial.path(b"long"))
        trial.attempt("size", actions.describe, trial.path(b"long"))
        trial.attempt("chown", os.chown, trial.path(b"long"), os.geteuid(), os.getegid(), follow_symlinks=False)
        trial.attempt("copied up", os.readlink, trial.path(b"long"))
        trial.attempt("empty target", os.symlink, b"", trial.path(b"empty"))
        trial.attempt("readlink of a file", os.readlink, trial.path(b"file"))
        trial.attempt("loop", os.symlink, b"loop", trial.path(b"loop"))
        trial.attempt("follow the loop", os.stat, trial.path(b"loop"))

    bench.compare({b"long": symlink(b"l" * 4095), b"file": file()}, operations)


@pytest.mark.parametrize("origin", ["base", "layer"])
def test_a_tree_deeper_than_a_path_can_say(bench: Workbench, origin: str) -> None:
    depth, name = 60, b"d" * 100  # 6,000 bytes of path, PATH_MAX is 4,096

    def descend(top: bytes, make: bool) -> int:
        """A descriptor of the deepest directory, made on the way when `make`."""
        current = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(depth):
            if make:
                os.mkdir(name, dir_fd=current)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=current)
            os.close(current)
            current = below
        return current

    base = bench.base({"top": directory()})
    if origin == "base":
        deepest = descend(os.fsencode(base / "top"), make=True)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=deepest))
        os.close(deepest)
    mount = bench.mount(base)
    deepest = descend(mount.path + b"/top", make=origin == "layer")
    try:
        descriptor = os.open("file", os.O_CREAT | os.O_RDWR, 0o644, dir_fd=deepest)
        os.write(descriptor, b"deep")
        os.close(descriptor)
        os.mkdir("made", dir_fd=deepest)
        os.rename("file", "made/moved", src_dir_fd=deepest, dst_dir_fd=deepest)
        assert os.listdir(deepest) == ["made"]
    finally:
        os.close(deepest)
    os.rename(mount.path + b"/top", mount.path + b"/renamed")
    mount.remount()
    deepest = descend(mount.path + b"/renamed", make=False)
    try:
        descriptor = os.open("made/moved", os.O_RDONLY, dir_fd=deepest)
        assert os.read(descriptor, 10) == b"deep"
        os.close(descriptor)
    finally:
        os.close(deepest)


def test_names_that_differ_only_in_case_are_different(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        trial.attempt("create", actions.create, trial.path("README"), b"upper")
        trial.attempt("unlink", os.unlink, trial.path("readme"))
        trial.attempt("list", lambda: sorted(os.listdir(trial.path())))

    bench.compare({"readme": file(b"lower")}, operations)
