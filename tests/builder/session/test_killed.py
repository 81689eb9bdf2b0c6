"""cowbuild killed with SIGKILL in each of its stages: nothing is left, and the next build gets further."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.session import supervisor
from builder.store import dependency_layers
from tests.builder.packages import COWBUILD, Workplace, make_source

# Where it is killed -> the line of the log after which that is.
MOMENTS = {
    "create-session": "Base: ",
    "fetch-src": "| Fetch source files",
    "install-deps": "Build-Depends: ",
    "unpack": "Unpack source",
    "build": "the build is on its way",
    "fetch-artifacts": "Finished",
    "package-contents": "| Package contents",
    "run-chroot-cleanup-commands": "cleaning",
    "store-artifacts": "cleaned",
    "run-post-build-commands": "afterwards",
    "end": "| Summary",
}


def test_a_private_directory_of_a_killed_process_goes_with_the_next(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from builder.session.supervisor import private_directory\n"
        "with private_directory(Path(sys.argv[1])) as place: print(place, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-P", "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with supervisor.private_directory(tmp_path) as another:
            assert left.is_dir()
        assert not another.exists()
        process.kill()
    with supervisor.private_directory(tmp_path):
        assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def assert_cache_is_whole(work: Workplace) -> None:
    """Killed processes of the session may write for a moment longer, and the remover waits for them."""
    place = work.cache / "cowfs/dependencies"
    give_up = time.monotonic() + 60
    while (left := _not_whole(place)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not left


def _not_whole(place: Path) -> list[Path]:
    entries = list(place.iterdir()) if place.exists() else []
    return [
        each
        for each in entries
        if each.name.startswith(supervisor.PREFIX) or not (each / dependency_layers.INFO).exists()
    ]


def test_what_is_to_outlive_the_terminal_does(work: Workplace) -> None:
    command = [*COWBUILD, "run", str(work.base.path), "--", "sh", "-c", "echo begun; read -r line; echo $line"]
    with subprocess.Popen(
        ["nohup", *command], env=work.environment, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL
    ) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        assert session.stdout.readline() == b"begun\n"
        session.send_signal(signal.SIGHUP)
        assert session.communicate(b"going on\n")[0] == b"going on\n"
    assert session.returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_killed_in_any_stage_nothing_is_left_and_the_next_build_gets_further(work: Workplace) -> None:
    dsc = make_source(work.place, "echo the build is on its way; setsid sleep 1", depends="hello")
    commands = (
        *("--chroot-cleanup-commands", "echo cleaning; sleep 1; echo cleaned"),
        *("--post-build-commands", "echo afterwards; sleep 1"),
    )
    for stage, line in MOMENTS.items():
        kill_after(work, dsc, line, stage, *commands)
        work.assert_nothing_left()
        assert_cache_is_whole(work)
    code, printed = work.build(dsc, "--deps-cache", *commands)
    assert code == 0, printed[-3000:]
    assert_cache_is_whole(work)


@pytest.mark.parametrize("work", ["user"], indirect=True)
def test_killed_while_a_dependency_layer_is_put_away_none_is_half_there(work: Workplace) -> None:
    dsc = make_source(work.place)
    place = work.cache / "cowfs/dependencies"
    with work.start(dsc, "--deps-cache", "--quiet") as process:
        while process.poll() is None and not list(place.glob(f"{supervisor.PREFIX}*/finished")):
            if [each for each in place.glob("*") if not each.name.startswith(supervisor.PREFIX)]:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    work.assert_nothing_left()
    assert_cache_is_whole(work)
    code, printed = work.build(dsc, "--deps-cache")
    assert code == 0, printed[-3000:]


def kill_after(work: Workplace, dsc: Path, line: str, stage: str, *options: str) -> None:
    with work.start(dsc, "--deps-cache", *options) as process:
        assert process.stdout is not None
        for printed in process.stdout:
            if printed.startswith(line):
                break
        else:
            pytest.fail(f"the build did not get to {stage}")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL, stage
