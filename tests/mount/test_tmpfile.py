"""O_TMPFILE: files without a name, and giving them one."""

from __future__ import annotations

import functools
import os
import stat
import subprocess
import tempfile

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import Entry, directory, file
from tests.harness.trial import Trial
from tests.harness.users import PLAIN_USER, as_user

BASE = {"d": directory(0o2770, gid=77), "file": file(b"file")}

pytestmark = pytest.mark.root


@pytest.mark.direct_only
def test_a_file_without_a_name_is_written_read_and_linked(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        previous = os.umask(0o027)
        descriptor = os.open(trial.path("d"), os.O_TMPFILE | os.O_RDWR, 0o666)
        os.umask(previous)
        trial.note("status", actions.describe_status(os.fstat(descriptor)))
        trial.attempt("write", os.write, descriptor, b"content")
        trial.attempt("chmod", os.fchmod, descriptor, 0o640)
        trial.attempt("read", os.pread, descriptor, 10, 0)
        trial.attempt("list", os.listdir, trial.path("d"))
        trial.attempt("link over", syscalls.link_descriptor, descriptor, trial.path("file"))
        trial.attempt("link", syscalls.link_descriptor, descriptor, trial.path("d/named"))
        trial.attempt("write on", os.write, descriptor, b" more")
        trial.attempt("read by name", actions.read, trial.path("d/named"))
        trial.note("status linked", actions.describe_status(os.fstat(descriptor)))
        trial.attempt("link twice", syscalls.link_descriptor, descriptor, trial.path("second"))
        os.close(descriptor)

    bench.compare(BASE, operations)


@pytest.mark.direct_only
def test_a_file_made_with_exclusion_stays_without_a_name(bench: Workbench) -> None:
    def operations(trial: Trial) -> None:
        with actions.opened(trial.path("d"), os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600) as descriptor:
            trial.attempt("write", os.write, descriptor, b"content")
            trial.attempt("link", syscalls.link_descriptor, descriptor, trial.path("named"))

    bench.compare(BASE, operations)


@pytest.mark.direct_only
@pytest.mark.parametrize("uid", [0, PLAIN_USER], ids=["root", "user"])
@pytest.mark.parametrize("covered", [False, True], ids=["new", "over a whiteout"])
def test_a_default_list_holds_however_a_file_is_made(bench: Workbench, uid: int, covered: bool) -> None:
    """Each way to make an entry, in an ordinary, a setgid and a default-ACL directory, with all mode bits."""

    def operations(trial: Trial) -> None:
        for top, entries in DEFAULT_LISTS.items():
            for name in os.listdir(trial.path(top)) if covered else []:
                os.unlink(trial.path(f"{top}/{name.decode()}"))
            if entries:
                subprocess.run(["setfacl", "-d", "-m", entries, trial.path(top)], check=True)
        previous = os.umask(0o022)
        try:
            for top in DEFAULT_LISTS:
                as_user(functools.partial(_make_all_kinds, trial.path(top)), uid, uid)
        finally:
            os.umask(previous)
        for top in DEFAULT_LISTS:
            for name in sorted(os.listdir(trial.path(top))):
                path = trial.path(top) + b"/" + name
                trial.note(f"{top} {name!r}", actions.describe_status(os.lstat(path))[1:])

    names = [f"{kind}-{mode:o}" for kind in KINDS for mode in MADE_MODES]
    description: dict[str, Entry] = {}
    for top in DEFAULT_LISTS:
        gid = 77 if "setgid" in top else 0
        description[top] = directory(0o3777 if gid else 0o777, gid=gid)
        description |= {f"{top}/{name}": file() for name in (names if covered else [])}
    bench.compare(description, operations)


DEFAULT_LISTS = {
    "plain": "",
    "setgid": "",
    "list": "u::rw,g::-,o::-,u:1000:r",
    "list setgid": "u::rwx,g::rx,o::x,g:77:rwx",
    "minimal": "u::rwx,g::r,o::-",
}
MADE_MODES = (0o666, 0o600, 0o777, 0o2777, 0o4755, 0o7777, 0)
KINDS = ("file", "tmpfile", "directory", "node", "fifo", "symlink")


def _make_all_kinds(top: bytes) -> None:
    for mode in MADE_MODES:
        name = top + b"/%s-" + b"%o" % mode
        actions.create(name % b"file", b"", mode)
        descriptor = os.open(top, os.O_TMPFILE | os.O_RDWR, mode)
        syscalls.link_descriptor(descriptor, name % b"tmpfile")
        os.close(descriptor)
        os.mkdir(name % b"directory", mode)
        os.mknod(name % b"node", stat.S_IFREG | mode)
        os.mkfifo(name % b"fifo", mode)
        os.symlink(b"x", name % b"symlink")


def test_a_program_that_falls_back_still_works(bench: Workbench, engine: str) -> None:
    """tempfile.TemporaryFile tries O_TMPFILE first; EOPNOTSUPP is the answer that makes programs fall back."""
    mount = bench.mounted(BASE)
    error = actions.error_of(lambda: os.close(os.open(mount.path, os.O_TMPFILE | os.O_RDWR, 0o600)))
    assert error == ("ENOTSUP" if engine == "pyfuse3" else "")
    with tempfile.TemporaryFile(dir=mount.point) as made:
        made.write(b"x")
        made.seek(0)
        assert made.read() == b"x"
    assert sorted(os.listdir(mount.path)) == [b"d", b"file"]
