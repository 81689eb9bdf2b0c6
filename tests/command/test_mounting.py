"""The `cowfs` command as a user meets it: mounting, ending, and one clear sentence for every mistake."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cowfs import __version__
from cowfs.fuse.statistics import read_facts
from tests.harness import actions, syscalls
from tests.harness.command import cowfs, cowfs_command, is_locked, is_mounted, unmount, wait_until
from tests.harness.snapshot import differences, snapshot
from tests.harness.trees import file, make_tree
from tests.harness.users import OTHER_USER, as_user, fuse_device_for_everybody

NOBODY = pwd.getpwnam("nobody")  # fusermount3 wants a user with a name


class Ground(NamedTuple):
    """A base, an empty mount point, a place for layers and one for temporary layers."""

    base: Path
    point: Path
    layer: Path
    temporary: Path

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return cowfs(*arguments, environment={"TMPDIR": str(self.temporary)})


@pytest.fixture
def ground(place: Path) -> Iterator[Ground]:
    made = Ground(place / "base", place / "mnt", place / "layer", place / "tmp")
    make_tree(str(made.base), {"file": file(b"content"), "d/inside": file(b"inside")})
    for path in (made.point, made.temporary):
        path.mkdir()
    before = snapshot(str(made.base), exact=True)
    yield made
    while is_mounted(made.point):
        syscalls.umount(str(made.point), syscalls.MNT_DETACH)
    assert differences(before, snapshot(str(made.base), exact=True)) == []


def _refused(done: subprocess.CompletedProcess[str], *words: str, code: tuple[int, ...] = (1, 2)) -> None:
    """The command failed as it should: an exit code, one sentence that holds the words, no traceback."""
    assert done.returncode in code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    for word in words:
        assert re.search(word, done.stderr, re.IGNORECASE), (word, done.stderr)
    sentence = [line for line in done.stderr.splitlines() if line and not line.startswith(("usage:", "Try:"))]
    assert len(sentence) == 1, done.stderr
    assert done.stdout == ""


def test_help_reads_well_and_mentions_every_option() -> None:
    done = cowfs("--help")
    assert done.returncode == 0
    for word in ("BASE", "MOUNTPOINT", "--layer", "--engine", "-o", "umount", "--sync", "lowerdir"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.parametrize("module", ["cowfs", "builder"])
def test_both_commands_say_their_version(module: str) -> None:
    said = subprocess.check_output([sys.executable, "-m", module, "--version"], text=True)
    assert said.split() == [{"cowfs": "cowfs", "builder": "cowbuild"}[module], __version__]


@pytest.mark.root
def test_it_returns_when_the_mount_is_usable_and_umount_ends_it(ground: Ground) -> None:
    done = ground.run(ground.base, ground.point)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert (ground.point / "file").read_bytes() == b"content"
    (ground.point / "new").write_bytes(b"new")
    unmount(ground.point)
    wait_until(lambda: os.listdir(ground.temporary) == [])
    assert os.listdir(ground.point) == []
    assert sorted(os.listdir(ground.base)) == ["d", "file"]


@pytest.mark.root
def test_a_temporary_layer_is_gone_after_unmount_and_a_kept_one_is_not(ground: Ground) -> None:
    for arguments, kept in (((), False), (("--layer", ground.layer), True)):
        assert ground.run(*arguments, ground.base, ground.point).returncode == 0
        (ground.point / "new").write_bytes(b"new")
        unmount(ground.point)
        wait_until(lambda: os.listdir(ground.temporary) == [])
        wait_until(lambda: ground.run(*arguments, ground.base, ground.point).returncode == 0)  # noqa: B023
        assert (ground.point / "new").exists() == kept
        unmount(ground.point)


@pytest.mark.root
@pytest.mark.parametrize("way", ["SIGINT", "SIGTERM", "umount", "cowfs umount", "fusermount3", "umount -l"])
def test_every_way_to_end_it_is_clean(ground: Ground, way: str) -> None:
    environment = {**os.environ, "TMPDIR": str(ground.temporary), "PYTHONFAULTHANDLER": "1"}
    command = [*cowfs_command(), "-f", str(ground.base), str(ground.point)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        try:
            wait_until(lambda: is_mounted(ground.point) and (ground.point / "file").exists())
            (ground.point / "file").write_bytes(b"changed")
            if way.startswith("SIG"):
                daemon.send_signal(getattr(signal, way))
            elif way == "cowfs umount":
                assert cowfs("umount", ground.point).returncode == 0
            elif way == "fusermount3":
                subprocess.run(["fusermount3", "-u", str(ground.point)], check=True)
            else:
                subprocess.run([*way.split(), str(ground.point)], check=True)
            try:
                output, errors = daemon.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.send_signal(signal.SIGABRT)  # faulthandler then tells where it hangs
                pytest.fail(daemon.communicate()[1].decode())
        finally:
            daemon.kill()
    assert (output, errors) == (b"", b"")
    assert daemon.returncode in ((0,) if not way.startswith("SIG") else (0, 130, 143))
    assert not is_mounted(ground.point)
    assert os.listdir(ground.temporary) == []


@pytest.mark.root
def test_a_busy_mount_is_not_torn_away_by_umount(ground: Ground) -> None:
    assert ground.run(ground.base, ground.point).returncode == 0
    with actions.opened(os.fsencode(ground.point / "file")) as descriptor:
        _refused(cowfs("umount", ground.point), "busy|in use")
        assert os.pread(descriptor, 10, 0) == b"content"
    assert cowfs("umount", ground.point).returncode == 0


@pytest.mark.root
def test_a_dead_mount_is_named_and_cleared_by_one_command(ground: Ground) -> None:
    with subprocess.Popen([*cowfs_command(), "-f", "--layer", ground.layer, ground.base, ground.point]) as daemon:
        wait_until(lambda: is_mounted(ground.point) and (ground.point / "file").exists())
        (ground.point / "kept").write_bytes(b"kept")
        daemon.kill()
    with pytest.raises(OSError, match=r"not connected|abort|cancel"):
        os.stat(ground.point / "kept")
    _refused(ground.run(ground.base, ground.point), str(ground.point), "dead|not connected|gone")
    done = cowfs("umount", ground.point)
    assert done.returncode == 0
    assert not is_mounted(ground.point)
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    assert (ground.point / "kept").read_bytes() == b"kept"
    unmount(ground.point)


@pytest.mark.root
def test_a_temporary_layer_of_a_killed_daemon_is_removed_by_the_next(ground: Ground) -> None:
    environment = {**os.environ, "TMPDIR": str(ground.temporary)}
    with subprocess.Popen([*cowfs_command(), "-f", ground.base, ground.point], env=environment) as daemon:
        wait_until(lambda: is_mounted(ground.point) and (ground.point / "file").exists())
        daemon.kill()
    syscalls.umount(str(ground.point), syscalls.MNT_DETACH)
    assert len(os.listdir(ground.temporary)) == 1
    assert ground.run(ground.base, ground.point).returncode == 0
    assert len(os.listdir(ground.temporary)) == 1
    unmount(ground.point)
    wait_until(lambda: os.listdir(ground.temporary) == [])


@pytest.mark.parametrize("foreground", [False, True], ids=["daemon", "foreground"])
def test_wrong_paths_get_one_clear_sentence(ground: Ground, foreground: bool) -> None:
    flags = ["-f"] if foreground else []
    base, point, layer = ground.base, ground.point, ground.layer
    missing = ground.base.parent / "missing"
    (ground.base.parent / "plain-file").touch()
    cases: list[tuple[list[str | Path], tuple[str, ...]]] = [
        ([missing, point], (str(missing), "does not exist|no such")),
        ([base / "file", point], ("not a directory",)),
        ([base, missing], (str(missing), "does not exist|no such")),
        ([base, base / "file"], ("not a directory",)),
        ([f"{base}:{missing}", point], (str(missing),)),
        (["--layer", base / "layer", base, point], ("layer", "base|inside")),
        (["--layer", base, base, point], ("layer|base",)),
        (["--layer", ground.base.parent, base, point], ("layer|base",)),
        (["--layer", ground.base.parent / "plain-file", base, point], ("not a directory",)),
        (["--layer", point / "layer", base, point], ("layer",)),
        (["--layer", layer, base, layer], ("layer|mount point",)),
    ]
    for arguments, words in cases:
        done = ground.run(*flags, *arguments)
        assert not is_mounted(point), arguments
        _refused(done, *words)
    assert sorted(os.listdir(ground.base)) == ["d", "file"]
    assert os.listdir(ground.temporary) == []


@pytest.mark.root
@pytest.mark.parametrize("inside", [".", "d"])
def test_a_base_mounted_over_itself_works_and_does_not_hang(ground: Ground, inside: str) -> None:
    point = (ground.base / inside).resolve()
    assert ground.run(ground.base, point).returncode == 0
    assert (point / "file").read_bytes() == b"content"
    (point / "file").write_bytes(b"changed")
    (point / "d/new").write_bytes(b"new")
    assert sorted(os.listdir(point)) == ["d", "file"]
    unmount(point)


def test_a_senseless_command_line_gets_usage_and_exit_code_2(ground: Ground) -> None:
    for arguments in (
        [],
        [ground.base],
        [ground.base, ground.point, "more"],
        ["--nonsense", ground.base, ground.point],
        ["--engine", "none", ground.base, ground.point],
        ["-o", "nonsense", ground.base, ground.point],
        ["-o", "engine=none", ground.base, ground.point],
        ["-o", "workdir=/tmp", ground.base, ground.point],
        ["", ground.point],
    ):
        done = cowfs(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stderr


@pytest.mark.root
def test_a_mount_point_in_use_is_refused(ground: Ground) -> None:
    assert ground.run(ground.base, ground.point).returncode == 0
    _refused(ground.run(ground.base, ground.point), str(ground.point), "use|mounted")
    unmount(ground.point)


@pytest.mark.root
def test_a_layer_that_is_mounted_is_refused_also_from_another_namespace(ground: Ground) -> None:
    second = ground.point.parent / "second"
    second.mkdir()
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    _refused(ground.run("--layer", ground.layer, ground.base, second), "layer", "mounted|use")
    elsewhere = ["unshare", "-m", *cowfs_command(), "-f", "--layer", *map(str, (ground.layer, ground.base, second))]
    done = subprocess.run(elsewhere, capture_output=True, text=True, check=False, timeout=30)
    _refused(done, "layer", "mounted|use")
    unmount(ground.point)
    wait_until(lambda: ground.run("--layer", ground.layer, ground.base, second).returncode == 0)
    unmount(second)


@pytest.mark.root
def test_a_layer_of_another_base_is_refused(ground: Ground) -> None:
    other = ground.point.parent / "other"
    make_tree(str(other), {"file": file(b"other")})
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    unmount(ground.point)
    wait_until(lambda: not is_locked(ground.layer / "upper"))
    _refused(ground.run("--layer", ground.layer, other, ground.point), "layer", str(ground.base))


@pytest.mark.root
@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"format": 1}', '{"format": 99, "bases": [], "marks": "trusted"}', "\0\0", '{"format": null}'],
)
def test_a_damaged_layer_gets_a_clear_error(ground: Ground, content: str) -> None:
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    unmount(ground.point)
    wait_until(lambda: not is_locked(ground.layer / "upper"))
    [metadata] = [path for path in ground.layer.iterdir() if path.is_file()]
    metadata.write_text(content)
    _refused(ground.run("--layer", ground.layer, ground.base, ground.point), "layer")


@pytest.mark.root
def test_options_as_mount_and_overlayfs_have_them(ground: Ground) -> None:
    lower = ground.point.parent / "lower"
    make_tree(str(lower), {"low": file(b"low"), "file": file(b"hidden")})
    upper, work = ground.point.parent / "upper", ground.point.parent / "work"
    upper.mkdir()
    work.mkdir()
    options = f"lowerdir={ground.base}:{lower},upperdir={upper},workdir={work},allow_other,nosuid,nodev,noatime"
    assert ground.run("-o", options, "none", ground.point).returncode == 0
    assert (ground.point / "low").read_bytes() == b"low"
    assert (ground.point / "file").read_bytes() == b"content"
    (ground.point / "low").write_bytes(b"changed")
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if f" {ground.point} " in line)
    assert " fuse.cowfs " in line
    for word in ("nosuid", "nodev", "noatime", "allow_other", "default_permissions"):
        assert word in line
    unmount(ground.point)
    assert (upper / "low").read_bytes() == b"changed"
    assert (lower / "low").read_bytes() == b"low"


@pytest.mark.root
def test_mount_8_finds_it_by_type(ground: Ground) -> None:
    """`mount -t fuse.cowfs` runs mount.fuse3, which runs the cowfs it finds in a PATH of its own."""
    launcher = ground.point.parent / "cowfs"
    launcher.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in cowfs_command()) + ' "$@"\n')
    launcher.chmod(0o755)
    script = """
        set -e
        mount -t tmpfs none /usr/local/bin
        cp "$1" /usr/local/bin/cowfs
        mount -t fuse.cowfs -o "layer=$4,nosuid" "$2" "$3"
        cat "$3/file"
        echo changed > "$3/file"
        umount "$3"
    """
    command = ["unshare", "-m", "sh", "-c", script, "sh", launcher, ground.base, ground.point, ground.layer]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "content", "")
    assert (ground.layer / "upper/file").read_text() == "changed\n"


@pytest.mark.root
def test_a_read_only_mount_takes_no_change(ground: Ground) -> None:
    assert ground.run("-o", "ro", ground.base, ground.point).returncode == 0
    path = os.fsencode(ground.point)
    assert actions.read(path + b"/file") == b"content"
    for call in (
        lambda: actions.append(path + b"/file", b"x"),
        lambda: actions.create(path + b"/new"),
        lambda: os.unlink(path + b"/file"),
        lambda: os.chmod(path + b"/file", 0o600),
        lambda: os.rename(path + b"/file", path + b"/moved"),
        lambda: os.setxattr(path + b"/file", "user.a", b"1"),
    ):
        assert actions.error_of(call) == "EROFS"
    unmount(ground.point)


@pytest.mark.root
def test_paths_with_colons_commas_and_spaces(place: Path) -> None:
    base, point, layer = (place / name for name in ("a:b, c\\d", "mount, point: \\x", "lay,er:"))
    make_tree(str(base), {"file": file(b"odd")})
    point.mkdir()
    escaped = str(base).replace("\\", "\\\\").replace(":", "\\:")
    done = cowfs("--layer", layer, escaped, point)
    assert (done.returncode, done.stderr) == (0, "")
    assert (point / "file").read_bytes() == b"odd"
    syscalls.umount(str(point))


@pytest.mark.root
def test_without_dev_fuse_the_reason_is_said(ground: Ground) -> None:
    script = 'mount -t tmpfs none /dev && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", *cowfs_command(), "-f", str(ground.base), str(ground.point)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.PIPE)
    _refused(done, "/dev/fuse")


def _plain_user_ground(place: Path) -> tuple[Path, Path, Path]:
    home = place / "home"
    make_tree(str(home / "base"), {"file": file(b"content", uid=NOBODY.pw_uid, gid=NOBODY.pw_gid)})
    for name in ("mnt", "tmp"):
        (home / name).mkdir()
    for path in (home, home / "base", home / "mnt", home / "tmp"):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    return home / "base", home / "mnt", home / "tmp"


def _as_plain_user(command: list[str], path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        user=NOBODY.pw_uid,
        group=NOBODY.pw_gid,
        extra_groups=[],
        cwd="/",
        env={"PATH": path, "HOME": "/nonexistent", "TMPDIR": "/tmp", "PYTHONPATH": ":".join(_source_path())},
    )


def _source_path() -> list[str]:
    return [str(Path(__file__).parents[2])]


@pytest.fixture
def readable_python() -> list[str]:
    """A command for plain users: the interpreter of the tests may lie in root's home."""
    command = cowfs_command()
    try:
        usable = _as_plain_user([*command, "--help"]).returncode == 0
    except PermissionError:
        usable = False
    if not usable:
        pytest.skip(f"a plain user cannot run {command[0]}")
    return command


@pytest.mark.root
def test_a_plain_user_mounts_and_unmounts_with_fusermount3(place: Path, readable_python: list[str]) -> None:
    base, point, _ = _plain_user_ground(place)
    with fuse_device_for_everybody():
        done = _as_plain_user([*readable_python, str(base), str(point)])
        assert (done.returncode, done.stderr) == (0, "")
        assert is_mounted(point)
        assert _as_plain_user(["cat", str(point / "file")]).stdout == "content"
        assert _as_plain_user(["sh", "-c", f"echo new > {point}/new && mv {point}/file {point}/moved"]).returncode == 0
        assert _as_plain_user(["fusermount3", "-u", str(point)]).returncode == 0
        wait_until(lambda: not is_mounted(point))
    assert os.listdir(base) == ["file"]


@pytest.mark.root
def test_a_plain_user_without_rights_gets_the_reason(place: Path, readable_python: list[str]) -> None:
    base, point, _ = _plain_user_ground(place)
    os.chmod("/dev/fuse", 0o600)
    _refused(_as_plain_user([*readable_python, "-f", str(base), str(point)]), "/dev/fuse")
    with fuse_device_for_everybody():
        _refused(_as_plain_user([*readable_python, "-f", str(base), str(point)], path="/nonexistent"), "fusermount3")


def _in_a_shell(ground: Ground, script: str, *arguments: str | Path, timeout: float = 30) -> str:
    """What a script prints whose "$@" is the command; it must succeed, and in time."""
    command = ["sh", "-c", script, "sh", *cowfs_command(), *map(str, arguments)]
    environment = {**os.environ, "TMPDIR": str(ground.temporary)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _daemon_of(point: Path) -> int:
    return read_facts(point).process


@pytest.mark.root
def test_a_daemon_keeps_nothing_of_its_caller(ground: Ground, engine: str) -> None:
    elsewhere, lock = ground.point.parent / "elsewhere", ground.point.parent / "lock"
    elsewhere.mkdir()
    script = f"cd {elsewhere} && umask 077 && trap '' HUP INT TERM && (flock 9; \"$@\" 8<{ground.base}) 9>{lock} | cat"
    assert _in_a_shell(ground, script, "--engine", engine, ground.base, ground.point) == ""
    daemon = Path(f"/proc/{_daemon_of(ground.point)}")
    assert not is_locked(lock)
    assert {os.readlink(daemon / f"fd/{number}") for number in range(3)} == {"/dev/null"}
    held = {os.readlink(path) for path in (daemon / "fd").iterdir()}
    assert held.isdisjoint({str(lock), str(elsewhere)})
    assert not any(name.startswith("pipe:") and _is_open_here(name) for name in held)
    assert os.readlink(daemon / "cwd") == "/"
    fields = (daemon / "stat").read_text().rpartition(")")[2].split()
    assert (fields[3], fields[4]) == (daemon.name, "0")  # its own session, without a terminal
    (ground.point / "new").write_bytes(b"")
    assert (ground.point / "new").stat().st_mode & 0o777 == 0o644
    os.kill(int(daemon.name), signal.SIGHUP)
    wait_until(lambda: not is_mounted(ground.point))
    wait_until(lambda: os.listdir(ground.temporary) == [])


def _is_open_here(name: str) -> bool:
    return name in {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.exists()}


@pytest.mark.root
def test_a_base_can_be_a_descriptor_of_the_caller(ground: Ground) -> None:
    _in_a_shell(ground, f'exec 9<{ground.base} && "$@" /dev/fd/9 {ground.point}')
    assert (ground.point / "file").read_bytes() == b"content"
    unmount(ground.point)


@pytest.mark.root
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_do_no_harm(ground: Ground, closed: str) -> None:
    _in_a_shell(ground, f'"$@" {closed}', ground.base, ground.point)
    (ground.point / "new").write_bytes(b"new")
    assert (ground.point / "new").read_bytes() == b"new"
    assert os.readlink(f"/proc/{_daemon_of(ground.point)}/fd/1") == "/dev/null"
    unmount(ground.point)


@pytest.mark.root
def test_in_the_foreground_nohup_is_obeyed(ground: Ground) -> None:
    command = ["sh", "-c", 'trap "" HUP && exec "$@"', "sh", *cowfs_command(), "-f", *map(str, ground[:2])]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(ground.temporary)}) as daemon:
        wait_until(lambda: is_mounted(ground.point) and (ground.point / "file").exists())
        daemon.send_signal(signal.SIGHUP)
        assert (ground.point / "d/inside").read_bytes() == b"inside"
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(10)
    assert not is_mounted(ground.point)


@pytest.mark.root
def test_a_trace_gets_the_mode_that_its_caller_wants(ground: Ground) -> None:
    trace = ground.point.parent / "trace"
    _in_a_shell(ground, 'umask 027 && "$@"', "--trace", trace, ground.base, ground.point)
    unmount(ground.point)
    wait_until(trace.exists)
    assert trace.stat().st_mode & 0o777 == 0o640


@pytest.mark.root
def test_where_the_callers_children_are_nobodys_the_helpers_failure_is_heard(
    place: Path, readable_python: list[str]
) -> None:
    base, point, _ = _plain_user_ground(place)
    os.chown(point, 0, 0)
    ignoring = ["sh", "-c", 'trap "" CHLD && exec "$@"', "sh", *readable_python, str(base), str(point)]
    with fuse_device_for_everybody():
        _refused(_as_plain_user(ignoring), "may write")


@pytest.mark.root
def test_a_plain_users_daemon_lets_go_of_its_callers_lock_and_pipe(place: Path, readable_python: list[str]) -> None:
    base, point, temporary = _plain_user_ground(place)
    script = f'(flock 9; "$@") 9>{temporary}/lock | cat'
    with fuse_device_for_everybody():
        done = _as_plain_user(["sh", "-c", script, "sh", *readable_python, str(base), str(point)])
        assert (done.returncode, done.stderr) == (0, "")
        assert not is_locked(temporary / "lock")
        assert _as_plain_user(["fusermount3", "-u", str(point)]).returncode == 0


def _enters(path: Path) -> bool:
    """Whether somebody else comes as far as this."""
    try:
        as_user(path.lstat, OTHER_USER)
    except PermissionError:
        return False
    return True


@pytest.mark.root
def test_a_layer_is_closed_to_others_and_one_that_was_open_is_so_from_now_on(ground: Ground) -> None:
    ground.layer.mkdir(mode=0o755)  # as users, and schroot, make it
    done = ground.run("--layer", ground.layer, ground.base, ground.point)
    assert (done.returncode, done.stderr) == (0, "")
    (ground.point / "setuid").write_bytes(b"")
    (ground.point / "setuid").chmod(0o4755)
    assert not _enters(ground.layer / "upper/setuid")
    unmount(ground.point)
    wait_until(lambda: not is_locked(ground.layer / "upper"))
    for mode, words in ((0o2755, f"The layer {ground.layer} was open to others"), (0o700, "")):
        ground.layer.chmod(mode)
        done = ground.run("--layer", ground.layer, ground.base, ground.point)
        assert done.returncode == 0
        assert done.stderr.startswith(words)
        assert done.stderr.count("\n") == bool(words)
        assert ground.layer.stat().st_mode & 0o777 == 0o700
        assert not _enters(ground.layer / "upper/setuid")
        unmount(ground.point)
        wait_until(lambda: not is_locked(ground.layer / "upper"))


@pytest.mark.root
def test_every_command_that_makes_a_layer_makes_it_closed(ground: Ground) -> None:
    assert ground.run("--layer", ground.layer, ground.base, ground.point).returncode == 0
    (ground.point / "setuid").write_bytes(b"")
    (ground.point / "setuid").chmod(0o4755)
    frozen, taken = ground.layer.with_name("frozen"), ground.layer.with_name("taken")
    assert ground.run("snapshot", ground.point, frozen).returncode == 0
    assert ground.run("import", frozen / "upper", taken, "--base", ground.base).returncode == 0
    for layer in (ground.layer, frozen, taken):
        assert not _enters(layer / "upper")
    unmount(ground.point)
    wait_until(lambda: not is_locked(ground.layer / "upper"))


@pytest.mark.root
def test_the_work_directory_beside_an_upper_directory_is_closed(ground: Ground) -> None:
    upper = ground.layer.with_name("upper")
    done = ground.run("-o", f"upperdir={upper}", ground.base, ground.point)
    assert done.returncode == 0, done.stderr
    assert not _enters(upper.with_name(".upper.work") / "staging")
    unmount(ground.point)
    wait_until(lambda: not is_locked(upper))
