"""Ground for attacks by forged bases and layers: a canary that nothing may find, and a way to try all that is shown."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.mounts import Mount, MountError
from tests.harness.snapshot import Snapshot, differences, snapshot
from tests.harness.trees import Description, Entry, directory, file, make_tree

BASE: Description = {
    "file": file(b"content"),
    "d/inside": file(b"inside"),
    "d/sub/deep": file(b"deep"),
    "e/other": file(b"other"),
    "linked": file(b"linked"),
    "linked-too": Entry(mode=0, target=b"linked", hard_link=True),
}
HARMLESS_ERRORS = {
    *("", "ENOENT", "ENOTDIR", "EISDIR", "EIO", "ELOOP", "EEXIST", "ESTALE", "EPERM", "ENOTEMPTY", "ENODATA"),
    *("EINVAL", "ENXIO", "ENAMETOOLONG", "ENOTTY", "ETXTBSY", "EOPNOTSUPP", "EOVERFLOW"),
}


class Grounds:
    """A base, a layer once used over it, and a canary beside them that nothing may find."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.canary = bench.place / "canary"
        make_tree(str(self.canary), {"secret": file(b"SECRET"), "d/secret": file(b"SECRET"), "empty": directory()})
        self._before = snapshot(str(self.canary), exact=True)
        self.base = bench.base(BASE)
        self.layer = bench.place / "layer"
        self.upper, self.work = self.layer / "upper", self.layer / "work"

    def make_layer(self) -> None:
        mount = self.bench.mount(self.base, layer=self.layer)
        actions.append(mount.path + b"/file", b"!")
        actions.append(mount.path + b"/d/inside", b"!")
        actions.create(mount.path + b"/new", b"new")
        mount.stop()

    def forge(self, description: Description) -> None:
        make_tree(str(self.upper), description)

    def mount(self) -> Mount:
        return self.bench.mount(self.base, layer=self.layer)

    def try_to_mount(self) -> str:
        """Mount the layer, use it, unmount it: "", or what the command said when it refused."""
        point, log = self.bench.place / "forged", self.bench.place / "forged.log"
        point.mkdir(exist_ok=True)
        log.unlink(missing_ok=True)
        mount = Mount(str(self.base), point, self.layer, self.bench.engine, log)
        try:
            mount.start()
        except MountError:
            said = log.read_text()
            assert "Traceback (" not in said, said
            assert len(said.splitlines()) == 1, said
            return said
        finally:
            if not mount.daemon:
                mount.kill()
        try:
            assert b"secret" not in shown(snapshot(mount.path))
            try_everything(mount.path)
        except OSError as error:
            raise AssertionError(f"{error}; the daemon said: {log.read_text()}") from error
        finally:
            mount.end()
        return ""

    def check(self) -> None:
        """The canary was neither changed nor read: not even its times moved."""
        assert differences(self._before, snapshot(str(self.canary), exact=True)) == []


def try_everything(top: bytes) -> None:
    """Use, change and remove all that a mount shows; every error is fine that an odd file may have, a hang is not."""
    for path, status in list(walk(top)):
        harmless = _attempts(path, status)
        for number, attempt in enumerate(harmless):
            error = actions.error_of(attempt)
            assert error in HARMLESS_ERRORS, (path, number, error)
    actions.create(top + b"/it still works", b"yes")
    assert actions.read(top + b"/it still works") == b"yes"


def walk(top: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    for place, directories, files in os.walk(top, topdown=False):
        for name in (*files, *directories):
            path = os.path.join(place, name)
            with contextlib.suppress(OSError):
                yield path, os.lstat(path)


def _attempts(path: bytes, status: os.stat_result) -> list[Callable[[], object]]:
    if stat.S_ISREG(status.st_mode):
        content: list[Callable[[], object]] = [
            lambda: actions.read(path),
            lambda: actions.append(path, b"more"),
            lambda: os.truncate(path, 2),
        ]
    elif stat.S_ISLNK(status.st_mode):
        content = [lambda: os.readlink(path)]
    elif stat.S_ISDIR(status.st_mode):
        content = [lambda: actions.create(path + b"/created"), lambda: os.listdir(path), lambda: os.rename(path, path)]
    else:
        content = []
    return [
        *content,
        lambda: os.chown(path, 7, 7, follow_symlinks=False),
        lambda: os.utime(path, ns=(5, 5), follow_symlinks=False),
        lambda: os.listxattr(path, follow_symlinks=False),
        lambda: os.setxattr(path, "trusted.mine", b"1", follow_symlinks=False),
        lambda: os.link(path, path + b"-link", follow_symlinks=False),
        lambda: os.rename(path, path + b"-moved"),
        lambda: os.rename(path + b"-moved", path),
        lambda: os.unlink(path + b"-link"),
        lambda: os.rmdir(path) if stat.S_ISDIR(status.st_mode) else os.unlink(path),
        lambda: os.mkdir(path),
    ]


def shown(tree: Snapshot) -> bytes:
    return b"\n".join(sorted(tree))
