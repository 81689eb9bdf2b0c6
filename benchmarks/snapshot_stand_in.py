"""In the place of snapshot.debian.org and metasnap.debian.net, for who asks just these: the machine's mirror, of today.

debrebuild can be told of no other. It is run in a mount namespace in which both names are the loopback's.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.debian import apt, dsc

NAMES = ("snapshot.debian.org", "metasnap.debian.net")
TODAY = "20260101T000000Z"
"""The time that all of the mirror is said to be of."""

# /etc/hosts, and what tells debsnap to do without TLS.
IN_NAMESPACE = """
set -e
mount -n --bind "$1/hosts" /etc/hosts
touch /etc/devscripts.conf; mount -n --bind "$1/devscripts.conf" /etc/devscripts.conf
shift
exec "$@"
"""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mirror: str
    suite: str
    files: Mapping[str, bytes]
    """Of the source package, by SHA-1."""
    answers: Mapping[str, object]

    def log_message(self, *_words: object) -> None:
        pass

    def do_GET(self) -> None:
        path = "/" + self.path.partition("?")[0].lstrip("/")
        if archived := re.fullmatch(r"/archive/debian/\w+/(.*)", path):
            self._forward(archived[1])
        elif path in self.answers:
            self._reply(json.dumps(self.answers[path]).encode())
        elif content := self.files.get(path.removeprefix("/file/")):
            self._reply(content)
        else:
            self._missing()

    def do_POST(self) -> None:
        """As metasnap: of each package the suite, the component, and from when to when it was there."""
        said = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = re.search(r'name="pkgs".*?\r\n\r\n(.*?)\r\n--', said, re.DOTALL)
        packages = [re.split("[:=]", each, maxsplit=2) for each in asked[1].split(",")] if asked else []
        rows = [f"{' '.join(each)} {self.suite} main {TODAY} {TODAY}\n" for each in packages]
        self._reply("".join(rows).encode())

    def _forward(self, path: str) -> None:
        try:
            with urllib.request.urlopen(f"{self.mirror.rstrip('/')}/{path}", timeout=60) as answer:
                self.send_response(200)
                self.send_header("Content-Length", answer.headers["Content-Length"])
                self.end_headers()
                shutil.copyfileobj(answer, self.wfile)
        except urllib.error.HTTPError:
            self._missing()

    def _missing(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _reply(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def standing_in(source: Path, place: Path) -> Iterator[Sequence[str]]:
    """What to put before a command that is to meet this server. `source` is the .dsc that it has. Needs root."""
    package = dsc.read(source)
    contents = {
        path.name: path.read_bytes() for path in (source, *(source.parent / each.name for each in package.files))
    }
    by_hash = {hashlib.sha1(content).hexdigest(): name for name, content in contents.items()}
    versions = f"/mr/package/{package.name}/"
    Handler.mirror = next(each.uri for each in apt.machine_archives() if each.label == "Debian")
    Handler.suite = apt.machine_suite()
    Handler.files = {sha1: contents[name] for sha1, name in by_hash.items()}
    Handler.answers = {
        versions: {"result": [{"version": package.version}]},
        f"{versions}{package.version}/srcfiles": {
            "result": [{"hash": sha1} for sha1 in by_hash],
            "fileinfo": {sha1: [{"name": name}] for sha1, name in by_hash.items()},
        },
    }
    place.mkdir()
    (place / "hosts").write_text(f"127.0.0.1 localhost {' '.join(NAMES)}\n")
    (place / "devscripts.conf").write_text(f"DEBSNAP_BASE_URL=http://{NAMES[0]}\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 80), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield ["unshare", "--mount", "sh", "-c", IN_NAMESPACE, "standing-in", str(place)]
        server.shutdown()
