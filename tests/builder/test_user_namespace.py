"""The user namespace of sessions where the machine gives less than usual: fewer ids, or none at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from builder import user_namespace
from builder.problems import Problem
from tests.builder.conftest import BECOME_USER, USER
from tests.builder.packages import COWBUILD, Base, Workplace, log_of, make_source

# Its first line tells that the namespace is there; then it waits until the ids are mapped.
WAIT = 'echo; read -r _; exec "$@" < /dev/null'


def in_container(ids: str, command: Sequence[object], environment: dict[str, str]) -> tuple[int, str]:
    """The exit code of a command, and what it says, as root of a new user namespace with these ids."""
    words = ["unshare", "--user", "--mount", "--", "sh", "-c", WAIT, "sh", *map(str, command)]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        for kind in ("uid", "gid"):
            Path(f"/proc/{process.pid}/{kind}_map").write_text(ids)
        process.stdin.write("\n")
        process.stdin.close()
        said = process.stdout.read()
    return process.returncode, said


@pytest.mark.root
@pytest.mark.parametrize("ids", ["0 0 65536\n", "0 0 1000\n1000 1000 70000\n"])
def test_root_of_a_container_builds(work: Workplace, ids: str) -> None:
    command = [*COWBUILD, "run", work.base.path, "--as-builder", "--", "cat", "/proc/self/uid_map"]
    code, said = in_container(ids, command, work.environment)
    assert code == 0, said
    assert said.split() == ids.split()


@pytest.mark.root
@pytest.mark.parametrize("ids", ["0 0 1\n", "0 0 65534\n", "0 0 1000\n2000 2000 65536\n"])
def test_a_container_with_too_few_ids_is_told_so(work: Workplace, ids: str) -> None:
    code, said = in_container(ids, [*COWBUILD, "run", work.base.path, "--", "true"], work.environment)
    assert code == 1
    assert re.match(r"cowbuild: Here are only the uids 0 to (0|65533|999), and .* 65534\n", said), said
    assert "Traceback" not in said


REFUSE = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
WHOLE = "0 0 4294967295\n"


@pytest.mark.root
def test_a_build_without_a_user_namespace_says_so_in_its_log(work: Workplace) -> None:
    options = ("--base", work.base.path, "--output", work.output, "--no-apt-update", "--no-deps-cache", "--quiet")
    command = ["sh", "-c", REFUSE, "sh", *COWBUILD, "build", make_source(work.place), *options]
    code, said = in_container(WHOLE, command, work.environment)
    assert code == 0, said
    [line] = [line for line in log_of(work.output).splitlines() if line.startswith("User namespace: ")]
    assert "none, the machine refuses it (unshare: " in line


@pytest.mark.root
def test_other_verbs_say_it_too_unless_none_was_wanted(work: Workplace) -> None:
    run = ("run", work.base.path, "--", "true")
    for wanted, times in (("--user-namespace", 1), ("--no-user-namespace", 0)):
        code, said = in_container(WHOLE, ["sh", "-c", REFUSE, "sh", *COWBUILD, wanted, *run], work.environment)
        assert (code, said.count("cowbuild: User namespace: none")) == (0, times), said


# What the machine has for others, and whether the user then lacks something. The advice is to be free in both files.
FILES = {
    "nothing": ("", ""),
    "another's": ("other:100000:65536\n", "other:100000:65536\n"),
    "others' in any order": ("b:165536:65536\na:100000:65536\n", "c:231072:65536\nd:300000:1\n"),
    "others' of groups": ("", "other:100000:65536\nsmall:165536:10\n"),
    "groups missing": ("tester:100000:65536\n", "other:100000:65536\n"),
    "too few": ("tester:100000:10\nother:100010:65536\n", "other:90000:20000\ntester:5000:65536\n"),
    "senseless lines": ("#\n\nx\nother:a:b\nother:100000:65536\n", ""),
}


@pytest.mark.root
@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_the_ids_that_are_advised_are_nobody_s(base_of: Callable[..., Base], files: tuple[str, str]) -> None:
    person = base_of("user").owner
    kinds = dict(zip(("uid", "gid"), files, strict=True))
    script = person.before[4]
    for kind, content in kinds.items():
        script = script.replace("exec setpriv", f"printf %s '{content}' > /etc/sub{kind}\nexec setpriv")
    create = [*COWBUILD, "create", f"./x-{os.getpid()}", "--suite", "sid"]
    command = [*person.before[:4], script, *person.before[5:], *create]
    environment = {**os.environ, **person.environment}
    done = subprocess.run(command, cwd="/tmp", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has no range of 65535 subordinate" in done.stderr
    advised = re.findall(r"--add-sub(uid|gid)s (\d+)-(\d+)", done.stderr)
    assert advised
    for kind, first, last in advised:
        assert not any(line.startswith("tester:") and line.endswith(":65536") for line in kinds[kind].splitlines())
        assert int(last) - int(first) + 1 >= user_namespace.IDS_NEEDED
        for line in "".join(files).splitlines():
            name, start, count = (*line.split(":"), "", "")[:3]
            if name != "tester" and start.isdigit():
                assert int(last) < int(start) or int(first) >= int(start) + int(count), done.stderr
    # A range that is too short would stay the one that is taken.
    assert ("--del-subuids 100000-100009" in done.stderr) == ("tester:100000:10\n" in files[0])


def test_a_user_without_a_name_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242424)
    with pytest.raises(Problem, match="has no name"):
        user_namespace.check()


@pytest.mark.root
def test_a_session_finds_itself_under_its_own_name_whatever_the_machines(work: Workplace) -> None:
    command = [*COWBUILD, "run", work.base.path, "--", "sh", "-c", "hostname; getent ahosts $(hostname)"]
    done = subprocess.run(
        ["unshare", "--uts", "sh", "-c", 'hostname machine; exec "$@"', "sh", *map(str, command)],
        env=work.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    name, address, *_more = done.stdout.splitlines()
    assert (name, address.split()[0]) == ("cowbuild", "127.0.1.1")


CHECK = """
from builder import problems, user_namespace
try:
    user_namespace.check()
except problems.Problem as problem:
    print(problem)
"""


@pytest.mark.root
def test_that_no_user_namespace_can_be_made_is_found_out_at_once(tmp_path: Path) -> None:
    """In a chroot nobody can, and unshare leaves a process that waits for ever."""
    enter = 'mount --rbind / "$1" && exec chroot "$@"'
    done = subprocess.run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", enter, "sh", tmp_path),
            *("sh", "-c", BECOME_USER, "become-user", str(USER), sys.executable, "-P", "-c", CHECK),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "A user namespace cannot be made\n", done.stderr
