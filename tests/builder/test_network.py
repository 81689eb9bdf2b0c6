"""The network that a session's commands with network have: the outside, and of the machine's loopback what apt asks."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder import network
from builder.debian import apt
from tests.builder.packages import COWBUILD, Workplace, for_both, make_source

carried = pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="without /dev/net/tun nothing can be carried")

GREETING = b"HTTP/1.1 404 hello"

# Prints what it reads from 127.0.0.1.
READ_PORT = "exec 3<>/dev/tcp/127.0.0.1/{port} && head -n 1 <&3"


@contextmanager
def greeting(address: str = "127.0.0.1") -> Iterator[int]:
    """A service of the machine, which has what nobody asks for; its port."""
    with socket.create_server((address, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _peer = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(GREETING + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    connection.recv(4096)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def release_of(archive: apt.Archive) -> Iterator[int]:
    """A service of the machine, which has the release file of an archive and nothing of what that lists; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.endswith("/InRelease"):
                self.send_error(404, "hello")
                return
            with urllib.request.urlopen(f"{archive.uri.rstrip('/')}/{self.path.removeprefix('/debian/')}") as release:
                text = release.read()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_words: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def in_session(
    work: Workplace, script: str, *options: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(*work.base.owner.before, *before, *COWBUILD, *options),
            *("run", work.base.path, "--", "bash", "-c", script),
        ],
        env=work.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@carried
@for_both
def test_the_outside_is_reached_and_the_machine_is_not(work: Workplace) -> None:
    name = f"cowbuild-network-{os.getpid()}"
    with greeting() as port, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        done = in_session(
            work,
            f"""
            {READ_PORT.format(port=port)} 2>/dev/null
            perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => "\\0{name}") and print "abstract"'
            apt-get -q -o APT::Update::Error-Mode=any update >/tmp/said 2>&1 && echo updated
            """,
        )
    assert done.stdout == "updated\n", done.stderr
    assert "loopback" not in done.stderr


@carried
@pytest.mark.parametrize("namespace", ["--user-namespace", "--no-user-namespace"])
def test_roots_session_has_its_own_network_in_either_namespace(work: Workplace, namespace: str) -> None:
    with greeting() as port:
        done = in_session(work, f"{READ_PORT.format(port=port)} 2>/dev/null; cut -d: -f1 /proc/net/dev", namespace)
    assert "hello" not in done.stdout
    assert "W:" not in done.stderr


@carried
@for_both
def test_an_archive_on_the_machines_loopback_is_reached_and_nothing_else_there(work: Workplace) -> None:
    with greeting() as port, greeting() as other:
        read = "bash -c '" + READ_PORT + "'; true"
        code, printed = work.build(
            make_source(work.place),
            *("--extra-repository", f"deb [trusted=yes] http://localhost:{port}/debian ./"),
            *("--chroot-update-failed-commands", read.format(port=port)),
            *("--chroot-update-failed-commands", read.format(port=other)),
        )
    assert code == 3, printed[-2000:]
    assert f"port {port}: apt asks there" in printed
    assert f"\n{GREETING.decode()}" in printed, printed[-3000:]
    assert f"/dev/tcp/127.0.0.1/{other}: Connection refused" in printed, printed[-3000:]


@carried
def test_a_base_is_made_from_an_archive_on_the_machines_loopback(work: Workplace) -> None:
    archive = apt.machine_archives()[0]
    with release_of(archive) as port:
        mirror = ("--suite", archive.release, "--mirror", f"http://localhost:{port}/debian")
        done = subprocess.run(
            [*COWBUILD, "create", work.place / "made", *mirror],
            env=work.environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0, "there are no packages"
    assert f"I: of the machine's loopback, commands with network reach port {port}: apt asks there" in done.stderr
    assert "404  hello" in done.stderr, done.stderr


def test_without_a_carrier_the_machines_network_is_shared_and_the_log_says_so(work: Workplace) -> None:
    hide = 'for each in pasta slirp4netns; do mount -n --bind /dev/null $(command -v $each) || exit; done; exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", hide, "hide")
    with greeting() as port:
        done = in_session(work, READ_PORT.format(port=port), before=before)
    assert done.stdout.startswith(GREETING.decode()), done.stderr
    assert "W: commands with network share the machine's, its loopback services too" in done.stderr


def test_the_archives_and_proxies_that_apt_is_configured_for(tmp_path: Path) -> None:
    files = {
        "sources.list": "deb [trusted=yes] http://localhost:3142/debian sid main\n# deb http://no/ x y\n",
        "sources.list.d/one.sources": "Types: deb\nURIs: https://[::1]/debian\n http://user:word@mirror/debian\n",
        "sources.list.d/two.list.save": "deb http://saved/ ./\n",
        "sources.list.d/three.list": "deb file:///srv/mirror ./\n",
        "apt.conf.d/01proxy": 'Acquire::http::Proxy "http://127.0.0.1:8000/";\n// "http://commented/"\n',
        "apt.conf.d/02proxy.conf": 'Acquire { https { Proxy "http://proxy.example:99"; }; };\n',
    }
    for name, text in files.items():
        path = tmp_path / "etc/apt" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "etc/apt/apt.conf.d/03link").symlink_to("/etc/passwd")
    assert network.places_of(tmp_path) == {
        network.Place("localhost", 3142),
        network.Place("::1", 443),
        network.Place("mirror", 80),
        network.Place("127.0.0.1", 8000),
        network.Place("proxy.example", 99),
    }


def test_how_the_archives_are_to_be_reached() -> None:
    own = socket.gethostname()
    assert network.route([network.Place("deb.debian.org", 80)]) == network.Route()
    assert network.route([network.Place("mirror", 80)]).short_names
    loopback = [network.Place("localhost", 3142), network.Place("127.0.0.1", 80), network.Place("::1", 81)]
    assert network.route(loopback) == network.Route(ports=frozenset({80, 81, 3142}))
    assert network.route([network.Place("127.0.1.1", 80)]).on_machine == "127.0.1.1"
    named = network.route([network.Place(own.lower(), 80)])
    assert named.on_machine or named.ports == {80}
    assert network.route([network.Place("192.0.2.77", 80)]) == network.Route()
