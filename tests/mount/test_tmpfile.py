"""O_TMPFILE: files without a name, and giving them one."""

from __future__ import annotations

import os
import tempfile

import pytest

from tests.harness import actions, syscalls
from tests.harness.bench import Workbench
from tests.harness.trees import directory, file
from tests.harness.trial import Trial

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
