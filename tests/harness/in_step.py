"""A mount and an ordinary directory on which random operations are done in step, each judged by what both give."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.harness import actions, syscalls
from tests.harness.mounts import Mount
from tests.harness.snapshot import differences, snapshot
from tests.harness.trees import directory, fifo, file, link_to, make_tree, symlink
from tests.harness.trial import CLOCK_TICK_NS

BASE = {
    "a": file(b"a in the base" * 400, mode=0o4755),
    "b/a": file(b"b/a in the base"),
    "b/b": link_to("a"),
    "b/c/a": file(b"b/c/a"),
    "b/c/d/a": file(b"deep"),
    "c": directory(0o2755),
    "c/b": link_to("b/a"),
    "d": fifo(),
    "l": symlink("b"),
    "m": symlink("b/a"),
    "e/a": directory(),
    "e/b": file(b"e/b", xattrs={"user.a": b"base"}),
}
NAMES = "abcdelm"
OPEN_FLAGS = (
    os.O_RDWR,
    os.O_RDWR | os.O_CREAT,
    os.O_RDWR | os.O_CREAT | os.O_EXCL,
    os.O_RDWR | os.O_TRUNC,
    os.O_RDWR | os.O_CREAT | os.O_APPEND,
)


class Content(NamedTuple):
    """What is written: one letter, so many times."""

    letter: str
    size: int

    @property
    def data(self) -> bytes:
        return self.letter.encode() * self.size


class Choice(NamedTuple):
    """A path: the `number`-th of those that exist (modulo their number), or `fresh`, which may exist or not."""

    existing: bool
    number: int
    fresh: str


paths = st.builds(
    Choice,
    existing=st.sampled_from((True, True, True, False)),
    number=st.integers(0, 60),
    fresh=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join),
)
offsets = st.sampled_from((0, 1, 7, 4095, 4096, 5000, 70_000))
contents = st.builds(Content, letter=st.sampled_from("wxyz"), size=st.sampled_from((0, 1, 12, 4096, 80_000)))
modes = st.sampled_from((0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o6711))
owners = st.sampled_from((-1, 0, 1234))
times = st.sampled_from((0, 1, 1_234_567_890_123_456_789))
indexes = st.integers(0, 20)
attribute_names = st.sampled_from(("user.a", "user.b", "trusted.a", "security.a"))


class Stream(NamedTuple):
    """A directory being read on the mount; `entries` are the plain one's (name, inode) when that began."""

    stream: syscalls.DirectoryStream
    plain: int
    entries: set[tuple[str, int]]
    seen: list[bytes]


def _entries(descriptor: int) -> set[tuple[str, int]]:
    with os.scandir(descriptor) as found:
        return {(entry.name, entry.inode()) for entry in found}


class InStep(RuleBasedStateMachine):
    """The rules are the operations. `place` gets a directory for each example; `sabotage` breaks the daemon."""

    place: Path
    engine: str
    sabotage: Callable[[], object] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.top = Path(tempfile.mkdtemp(dir=self.place))
        base, plain, point = (self.top / name for name in ("base", "plain", "mnt"))
        for tree in (base, plain):
            make_tree(str(tree), BASE)
        point.mkdir()
        self.read_only = {base: snapshot(str(base), exact=True)}
        self.now = time.time_ns() - CLOCK_TICK_NS
        self.mount = Mount(
            str(base), point, self.top / "layer", self.engine, self.top / "log", sabotage=type(self).sabotage
        )
        self.mount.start()
        self.roots = (os.fsencode(plain), self.mount.path)
        self.files: list[tuple[int, int]] = []
        self.streams: list[Stream] = []

    def teardown(self) -> None:
        try:
            self.close_everything()
            self.compare_trees()
            self.mount.remount()
            self.compare_trees()
        finally:
            self.mount.end()
            changed = [
                line
                for path, before in self.read_only.items()
                for line in differences(before, snapshot(str(path), exact=True))
            ]
            shutil.rmtree(self.top, ignore_errors=True)
        assert changed == []

    def close_everything(self) -> None:
        for pair in self.files:
            for descriptor in pair:
                os.close(descriptor)
        self.files.clear()
        while self.streams:
            self.finish_stream(0)

    def compare_trees(self) -> None:
        plain, mounted = (snapshot(root, now=self.now) for root in self.roots)
        lines = differences(plain, mounted)
        assert not lines, "ordinary directory -> mount\n" + "\n".join(lines)

    def in_step(self, call: Callable[[bytes], object]) -> None:
        """Do the same below both roots; both give the same value, or fail alike."""
        plain, mounted = (_outcome(call, root) for root in self.roots)
        assert plain == mounted, f"ordinary directory: {plain!r}, mount: {mounted!r}"

    def name(self, choice: Choice, wanted: Callable[[bytes], bool] = os.path.lexists) -> bytes:
        """The chosen path below the roots; an existing one is mostly of the `wanted` kind."""
        if not choice.existing:
            return b"/" + choice.fresh.encode()
        names = sorted(self.existing())
        fitting = [name for name in names if wanted(self.roots[0] + name)] if choice.number % 5 else names
        return fitting[choice.number % len(fitting)] if fitting else b"/a"

    def existing(self) -> Iterator[bytes]:
        top = self.roots[0]
        for directory_path, directories, names in os.walk(top):
            for name in directories + names:
                yield directory_path[len(top) :] + b"/" + name

    @rule(path=paths, content=contents, mode=modes)
    def create(self, path: Choice, content: Content, mode: int) -> None:
        name = self.name(path._replace(existing=False))
        self.in_step(lambda root: actions.create(root + name, content.data, mode))

    @rule(path=paths, content=contents)
    def replace(self, path: Choice, content: Content) -> None:
        name = self.name(path, os.path.isfile)
        self.in_step(lambda root: actions.replace(_no_fifo(root + name), content.data))

    @rule(path=paths, content=contents, offset=offsets)
    def write(self, path: Choice, content: Content, offset: int) -> None:
        name = self.name(path, os.path.isfile)
        self.in_step(lambda root: actions.write(_no_fifo(root + name), content.data, offset))

    @rule(path=paths, content=contents)
    def append(self, path: Choice, content: Content) -> None:
        name = self.name(path, os.path.isfile)
        self.in_step(lambda root: actions.append(_no_fifo(root + name), content.data))

    @rule(path=paths)
    def read(self, path: Choice) -> None:
        name = self.name(path, os.path.isfile)
        self.in_step(lambda root: actions.read(_no_fifo(root + name)))

    @rule(path=paths, size=offsets)
    def truncate(self, path: Choice, size: int) -> None:
        name = self.name(path, os.path.isfile)
        self.in_step(lambda root: os.truncate(root + name, size))

    @rule(path=paths, mode=modes)
    def mkdir(self, path: Choice, mode: int) -> None:
        name = self.name(path._replace(existing=False))
        self.in_step(lambda root: os.mkdir(root + name, mode))

    @rule(path=paths)
    def rmdir(self, path: Choice) -> None:
        name = self.name(path, os.path.isdir)
        self.in_step(lambda root: os.rmdir(root + name))

    @rule(path=paths)
    def remove_tree(self, path: Choice) -> None:
        name = self.name(path)
        self.in_step(lambda root: _remove_tree(root + name))

    @rule(path=paths)
    def unlink(self, path: Choice) -> None:
        name = self.name(path, _not_a_directory)
        self.in_step(lambda root: os.unlink(root + name))

    @rule(old=paths, new=paths)
    def rename(self, old: Choice, new: Choice) -> None:
        source, target = self.name(old), self.name(new)
        self.in_step(lambda root: os.rename(root + source, root + target))

    @rule(old=paths, new=paths)
    def rename_noreplace(self, old: Choice, new: Choice) -> None:
        source, target = self.name(old), self.name(new)
        self.in_step(lambda root: syscalls.rename(root + source, root + target, syscalls.RENAME_NOREPLACE))

    @rule(old=paths, new=paths)
    def rename_exchange(self, old: Choice, new: Choice) -> None:
        source, target = self.name(old), self.name(new)
        self.in_step(lambda root: syscalls.rename(root + source, root + target, syscalls.RENAME_EXCHANGE))

    @rule(old=paths, new=paths)
    def link(self, old: Choice, new: Choice) -> None:
        source, target = self.name(old, _not_a_directory), self.name(new._replace(existing=False))
        self.in_step(lambda root: os.link(root + source, root + target, follow_symlinks=False))

    @rule(path=paths, to=paths)
    def symlink(self, path: Choice, to: Choice) -> None:
        name = self.name(path._replace(existing=False))
        self.in_step(lambda root: os.symlink(to.fresh, root + name))

    @rule(path=paths)
    def mkfifo(self, path: Choice) -> None:
        name = self.name(path._replace(existing=False))
        self.in_step(lambda root: os.mkfifo(root + name))

    @rule(path=paths, mode=modes)
    def chmod(self, path: Choice, mode: int) -> None:
        name = self.name(path)
        self.in_step(lambda root: os.chmod(root + name, mode))

    @rule(path=paths, uid=owners, gid=owners)
    def chown(self, path: Choice, uid: int, gid: int) -> None:
        name = self.name(path)
        self.in_step(lambda root: os.chown(root + name, uid, gid, follow_symlinks=False))

    @rule(path=paths, accessed=times, modified=times)
    def utime(self, path: Choice, accessed: int, modified: int) -> None:
        name = self.name(path)
        self.in_step(lambda root: os.utime(root + name, ns=(accessed, modified), follow_symlinks=False))

    @rule(path=paths, key=attribute_names, value=st.sampled_from((b"", b"1", b"v" * 300)))
    def setxattr(self, path: Choice, key: str, value: bytes) -> None:
        name = self.name(path)
        self.in_step(lambda root: os.setxattr(root + name, key, value))

    @rule(path=paths, key=attribute_names)
    def removexattr(self, path: Choice, key: str) -> None:
        name = self.name(path)
        self.in_step(lambda root: os.removexattr(root + name, key))

    @rule(path=paths)
    def stat(self, path: Choice) -> None:
        name = self.name(path)
        self.in_step(lambda root: actions.describe(root + name))

    @rule(path=paths)
    def list(self, path: Choice) -> None:
        name = self.name(path, os.path.isdir)
        self.in_step(lambda root: sorted(os.listdir(root + name)))

    @precondition(lambda self: len(self.files) < 8)
    @rule(path=paths, flags=st.sampled_from(OPEN_FLAGS))
    def open(self, path: Choice, flags: int) -> None:
        name = self.name(path, os.path.isfile)
        opened = [_outcome(lambda root: os.open(_no_fifo(root + name), flags, 0o640), root) for root in self.roots]
        plain, mounted = opened
        if isinstance(plain, int) and isinstance(mounted, int):
            self.files.append((plain, mounted))
        else:
            assert plain == mounted, f"ordinary directory: {plain!r}, mount: {mounted!r}"

    @precondition(lambda self: self.files)
    @rule(index=indexes, content=contents, offset=offsets)
    def write_open(self, index: int, content: Content, offset: int) -> None:
        self.with_open(index, lambda descriptor: os.pwrite(descriptor, content.data, offset))

    @precondition(lambda self: self.files)
    @rule(index=indexes)
    def read_open(self, index: int) -> None:
        self.with_open(index, actions.read_all)

    @precondition(lambda self: self.files)
    @rule(index=indexes, size=offsets)
    def truncate_open(self, index: int, size: int) -> None:
        self.with_open(index, lambda descriptor: os.ftruncate(descriptor, size))

    @precondition(lambda self: self.files)
    @rule(index=indexes, mode=modes)
    def chmod_open(self, index: int, mode: int) -> None:
        self.with_open(index, lambda descriptor: os.fchmod(descriptor, mode))

    @precondition(lambda self: self.files)
    @rule(index=indexes)
    def stat_open(self, index: int) -> None:
        self.with_open(index, lambda descriptor: actions.describe_status(os.fstat(descriptor)))

    @precondition(lambda self: self.files)
    @rule(index=indexes)
    def close(self, index: int) -> None:
        for descriptor in self.files.pop(index % len(self.files)):
            os.close(descriptor)

    def with_open(self, index: int, call: Callable[[int], object]) -> None:
        descriptors = self.files[index % len(self.files)]
        plain, mounted = (_outcome(call, descriptor) for descriptor in descriptors)
        assert plain == mounted, f"ordinary directory: {plain!r}, mount: {mounted!r}"

    @precondition(lambda self: len(self.streams) < 3)
    @rule(path=paths, count=st.integers(0, 5))
    def begin_listing(self, path: Choice, count: int) -> None:
        name = self.name(path, os.path.isdir)
        plain = _outcome(lambda root: os.open(root + name, os.O_RDONLY | os.O_DIRECTORY), self.roots[0])
        if isinstance(plain, int):
            begun = Stream(syscalls.DirectoryStream(self.roots[1] + name), plain, _entries(plain), [])
            self.streams.append(begun)
            for _ in range(count):
                entry = begun.stream.read()
                begun.seen.extend([entry[0]] if entry else [])

    @precondition(lambda self: self.streams)
    @rule(index=indexes)
    def end_listing(self, index: int) -> None:
        self.finish_stream(index % len(self.streams))

    def finish_stream(self, index: int) -> None:
        """Every entry that was there from the first read to the last was seen exactly once."""
        stream, plain, entries, seen = self.streams.pop(index)
        seen += [name for name, _, _ in stream]
        stream.close()
        try:
            throughout = {os.fsencode(name) for name, _ in entries & _entries(plain)}
        finally:
            os.close(plain)
        assert sorted(name for name in seen if name in throughout) == sorted(throughout)

    @rule()
    def forget(self) -> None:
        self.mount.forget()

    @rule()
    def checkpoint(self) -> None:
        self.compare_trees()

    @rule()
    def mount_again(self) -> None:
        self.close_everything()
        self.mount.remount()
        self.compare_trees()

    @precondition(lambda self: self.mount.base.count(":") < 3)
    @rule()
    def stack_another_layer(self) -> None:
        """What was written so far becomes a read-only layer; a new one takes what comes."""
        self.close_everything()
        assert self.mount.stop() == 0
        assert self.mount.layer is not None
        upper = self.mount.layer / "upper"
        self.read_only[upper] = snapshot(str(upper), exact=True)
        self.mount.base = f"{self.mount.layer}:{self.mount.base}"
        self.mount.layer = self.top / f"layer{self.mount.base.count(':')}"
        self.mount.start()
        self.compare_trees()


def _outcome(call: Callable[..., object], argument: object) -> object:
    try:
        return call(argument)
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _not_a_directory(path: bytes) -> bool:
    return os.path.islink(path) or not os.path.isdir(path)


def _no_fifo(path: bytes) -> bytes:
    """Opening a FIFO would wait for its other end: refuse it, by the same error everywhere."""
    if path and os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise OSError(errno.ESPIPE, "a FIFO")
    return path


def _remove_tree(path: bytes) -> None:
    """Like `rm -r`; without following symlinks."""
    if _not_a_directory(path):
        os.unlink(path)
        return
    for directory_path, directories, names in os.walk(path, topdown=False):
        for name in names:
            os.unlink(os.path.join(directory_path, name))
        for name in directories:
            below = os.path.join(directory_path, name)
            (os.unlink if os.path.islink(below) else os.rmdir)(below)
    os.rmdir(path)
