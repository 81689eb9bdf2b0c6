"""The sandbox, tried from the inside by a build that looks for the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builder.packages import COWBUILD, Workplace, for_both, log_of, make_source


class Look(NamedTuple):
    """What a build looks for, in the shell's language, and what each `found` of that must tell."""

    script: str
    expected: dict[str, str]


def found_inside(work: Workplace, script: str) -> dict[str, str]:
    """Run `script` as a build; the lines `NAME=TEXT` that it printed after a `found` each."""
    code, _printed = work.build(make_source(work.place, f'set +e\nfound() {{ echo "FOUND $1=$2"; }}\n{script}\ntrue'))
    assert code == 0, log_of(work.output)[-2000:]
    lines = [line.removeprefix("FOUND ") for line in log_of(work.output).splitlines() if line.startswith("FOUND ")]
    return dict(line.split("=", 1) for line in lines)


PRIVILEGES = Look(
    """
    found capabilities "$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)"
    found no_new_privileges "$(sed -n 's/^NoNewPrivs:[[:space:]]*//p' /proc/self/status)"
    found mount "$(mount -t tmpfs tmpfs /mnt 2>/dev/null && echo done)"
    found node "$(mknod /tmp/node b 8 0 2>/dev/null && echo done)"
    found write "$(touch /usr/written 2>/dev/null && echo done)"
    """,
    {"capabilities": "0" * 16, "no_new_privileges": "1", "mount": "", "node": "", "write": ""},
)

NEEDS = Look(
    """
    found shm "$(echo yes > /dev/shm/file && cat /dev/shm/file)"
    found null "$(echo x > /dev/null && echo yes)"
    found policy "$(/usr/sbin/policy-rc.d; echo $?)"
    found localhost "$(getent hosts localhost | head -n 1 | awk '{print $2}')"
    found user "$(id -un)"
    found self "$(getent hosts $(hostname) > /dev/null && echo yes)"
    """,
    {"shm": "yes", "null": "yes", "policy": "101", "localhost": "localhost", "user": "cowbuild", "self": "yes"},
)


@contextmanager
def processes() -> Iterator[Look]:
    with subprocess.Popen(["sleep", "86399"]) as outside:
        yield Look(
            f"""
            found processes "$(cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'sleep [8]6399')"
            found signal "$(kill -0 {outside.pid} 2>/dev/null && echo done)"
            found first "$(readlink /proc/1/root; ls /proc/1/root/ 2>/dev/null)"
            found hostname_changed "$(hostname other 2>/dev/null && echo done)"
            """,
            {"processes": "0", "signal": "", "first": "", "hostname_changed": ""},
        )
        outside.kill()


def files(work: Workplace) -> Look:
    secret = work.place / "secret"
    secret.write_text("secret")
    work.place.chmod(0o777)
    return Look(
        f"""
        found secret "$(cat {secret} 2>/dev/null)"
        found base "$(ls {work.base.path} 2>/dev/null)"
        found up "$(cd /; cd ../../../..; ls {work.place} 2>/dev/null)"
        found devices "$(echo $(ls /dev))"
        found mounts "$(grep -c {work.place} /proc/self/mounts)"
        found sysfs "$(echo x 2>/dev/null > /sys/kernel/uevent_seqnum && echo done)"
        """,
        {
            "secret": "",
            "base": "",
            "up": "",
            "devices": "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero",
            "mounts": "0",
            "sysfs": "",
        },
    )


@contextmanager
def network() -> Iterator[Look]:
    """There is none but its own loopback."""
    name = f"\0cowbuild-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(name)
        abstract.listen()
        yield Look(
            f"""
            found interfaces "$(tail -n +3 /proc/net/dev | cut -d: -f1 | xargs)"
            found machine "$(exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]} && echo done)"
            found own "$(perl -MIO::Socket::INET -e '
                my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or exit 1;
                IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $s->sockport) and print "done"')"
            found abstract "$(perl -MIO::Socket::UNIX -e '
                IO::Socket::UNIX->new(Peer => "\\0{name[1:]}") and print "done"')"
            found resolver "$(cat /etc/resolv.conf)"
            """,
            {"interfaces": "lo", "machine": "", "own": "done", "abstract": "", "resolver": ""},
        )


@for_both
def test_a_build_finds_nothing_of_the_machine_and_all_that_it_needs(work: Workplace) -> None:
    """All in one build: each has a session, an apt and a dpkg."""
    before = sorted(Path("/var/tmp").iterdir())
    with processes() as of_processes, network() as of_network:
        looks = (PRIVILEGES, NEEDS, of_processes, files(work), of_network)
        more = """
        touch /tmp/inside /var/tmp/inside
        found uid "$(id -u)"
        found terminal "$(script -qec 'tty' /dev/null 2>/dev/null | tr -d '\\r')"
        """
        found = found_inside(work, "".join([*(look.script for look in looks), more]))
    assert int(found.pop("uid")) >= 1000
    # bsdutils, which has script(1), is in every base of today's releases.
    assert found.pop("terminal").startswith("/dev/pts/")
    assert found == {name: text for look in looks for name, text in look.expected.items()}
    assert sorted(Path("/var/tmp").iterdir()) == before


def test_the_umask_of_who_builds_is_not_the_sessions(work: Workplace) -> None:
    before = os.umask(0o077)
    try:
        found = found_inside(work, 'found umask "$(umask)"; found hosts "$(grep -c localhost /etc/hosts)"')
    finally:
        os.umask(before)
    assert found == {"umask": "0022", "hosts": "2"}


@for_both
@pytest.mark.parametrize("namespace", ["--user-namespace", "--no-user-namespace"])
def test_root_inside_changes_nothing_outside(work: Workplace, namespace: str) -> None:
    before = {path: path.stat() for path in (Path("/dev/null"), Path("/proc/sys/kernel/panic"))}
    panic = Path("/proc/sys/kernel/panic").read_text()
    script = """
    chmod 600 /dev/null; chown 5:5 /dev/null; echo 5 > /proc/sys/kernel/panic
    mknod /tmp/disk b 254 0; cat /tmp/disk | head -c 1; mount -t tmpfs tmpfs /mnt; cat /proc/1/environ
    kill -0 -1; hostname changed
    """
    done = subprocess.run(
        [*work.base.owner.before, *COWBUILD, namespace, "run", work.base.path, "--", "sh", "-c", script],
        env=work.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    after = {path: path.stat() for path in before}
    for path, status in before.items():
        assert (after[path].st_mode, after[path].st_uid) == (status.st_mode, status.st_uid)
    assert Path("/proc/sys/kernel/panic").read_text() == panic


# Runs a command with a key in its session keyring: add_key(2), keyctl(2) JOIN_SESSION_KEYRING.
KEY_HOLDER = """
import ctypes, os, sys
call = ctypes.CDLL(None).syscall
assert call(250, 1, None) > 0
assert call(248, b"user", b"cowbuild-secret", b"secret", 6, -3) > 0
assert "cowbuild-secret" in open("/proc/keys").read()
os.execvp(sys.argv[1], sys.argv[1:])
"""


@for_both
@pytest.mark.parametrize("namespace", ["--user-namespace", "--no-user-namespace"])
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="written with this machine's numbers of system calls")
def test_the_keys_of_who_builds_are_not_in_sight(work: Workplace, namespace: str) -> None:
    request = '$type = "user"; $name = "cowbuild-secret"; print syscall(249, $type, $name, 0, 0)'
    script = f"grep -c cowbuild-secret /proc/keys; perl -e '{request}'"
    done = subprocess.run(
        [
            *(*work.base.owner.before, sys.executable, "-c", KEY_HOLDER, *COWBUILD, namespace),
            *("run", work.base.path, "--as-builder", "--", "sh", "-c", script),
        ],
        env=work.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0\n-1", done.stderr
