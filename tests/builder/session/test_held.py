"""Sessions that a process holds open: what is left where it does not come to that. Without a session."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.problems import Problem
from builder.session import held, reading
from builder.store import kept_sessions

HOLDS = "import os, time; print(os.getpid(), file=open({pid!r}, 'w'), flush=True); {then}; time.sleep(600)"
READY = "os.write(1, b'the session is ready\\n')"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> kept_sessions.KeptSession:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return kept_sessions.begin(tmp_path, stem="base", stage="test")


def in_place_of_cowbuild(monkeypatch: pytest.MonkeyPatch, place: Path, then: str) -> Path:
    """Something that goes on for long; where it writes its number."""
    number = place / "number"
    monkeypatch.setattr(held, "COWBUILD", (sys.executable, "-c", HOLDS.format(pid=str(number), then=then)))
    return number


def gone(number: Path) -> bool:
    return not Path("/proc", number.read_text().strip()).exists()


def test_a_session_that_does_not_begin_is_not_waited_for(
    kept: kept_sessions.KeptSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = in_place_of_cowbuild(monkeypatch, tmp_path, "os.write(1, b'soon')")
    monkeypatch.setattr(held, "READY_WITHIN", 2.0)
    with pytest.raises(Problem, match=f"The session {kept.name} cannot be opened"):
        held.holder_of(kept)
    assert gone(number)


def test_an_interrupted_caller_leaves_no_session(
    kept: kept_sessions.KeptSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = in_place_of_cowbuild(monkeypatch, tmp_path, "os.kill(os.getppid(), 2)")
    with pytest.raises(KeyboardInterrupt):
        held.holder_of(kept)
    assert gone(number)


def test_a_session_that_cannot_be_noted_down_ends(
    kept: kept_sessions.KeptSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_words: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    number = in_place_of_cowbuild(monkeypatch, tmp_path, READY)
    for name in ("architecture", "personality"):
        module = {"architecture": "builder.debian.base_facts", "personality": "builder.debian.architectures"}[name]
        monkeypatch.setattr(f"{module}.{name}", lambda _known: "")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        held.holder_of(kept)
    assert gone(number)


@pytest.mark.root
def test_a_file_is_read_and_no_link_and_nothing_without_an_end(tmp_path: Path) -> None:
    for name in ("real", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "real/file").write_text("content")
    (tmp_path / "etc/link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "etc/fifo")
    (tmp_path / "linked").symlink_to("/etc")
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    enter = f"mount --bind {tmp_path} {tmp_path} && cd {tmp_path} && mount --move . / && echo; exec sleep 600"
    with subprocess.Popen([*command, enter], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as session:
        try:
            assert session.stdout is not None
            assert session.stdout.readline() == b"\n"
            assert reading.read(session.pid, "real/file", 7) == b"content"
            for path in ("etc/link", "etc/fifo", "etc", "linked/passwd", "real/none"):
                with pytest.raises(OSError):  # noqa: PT011  of several kinds
                    reading.read(session.pid, path, 1 << 20)
            with pytest.raises(OSError):  # noqa: PT011
                reading.read(session.pid, "real/file", 6)
        finally:
            session.kill()
