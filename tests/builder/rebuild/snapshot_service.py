"""A snapshot service on the loopback, by Debian's machine interface, that can be busy, broken and hostile."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

CONTROL = """\
Package: {name}
Version: {version}
Architecture: {architecture}
Maintainer: Nobody <nobody@localhost>
Description: made by a test
"""

Answer = Callable[["Handler"], None]


def make_package(place: Path, name: str, version: str, architecture: str = "all") -> Path:
    """A .deb whose /usr/share/NAME/version says which it is."""
    tree = place / f"{name}-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(CONTROL.format(name=name, version=version, architecture=architecture))
    (tree / f"usr/share/{name}").mkdir(parents=True)
    (tree / f"usr/share/{name}/version").write_text(f"{name} {version}\n")
    for directory in (tree, *tree.rglob("*")):
        directory.chmod(0o755 if directory.is_dir() else 0o644)
    made = place / f"{name}_{version}_{architecture}.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, made], check=True, capture_output=True)
    return made


class Service:
    """What the service has, what it was asked, and what it answers otherwise than it should."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, object] = {}
        self.asked: list[str] = []
        self.instead: dict[str, list[Answer]] = {}
        """Beginning of a path -> what is answered to the next requests for it, in turn."""
        self.archive: Path | None = None
        """What is below /debian/."""

    def _add(self, what: str, file: Path, architecture: str) -> str:
        content = file.read_bytes()
        sha1 = hashlib.sha1(content).hexdigest()
        self.files[sha1] = content
        answer = self.answers.setdefault(what, {"result": [], "fileinfo": {}})
        assert isinstance(answer, dict)
        answer["result"].append({"architecture": architecture, "hash": sha1})
        answer["fileinfo"][sha1] = [{"name": file.name, "size": len(content), "archive_name": "debian"}]
        return sha1

    def add_package(self, file: Path) -> str:
        """Have a .deb named as dpkg names it; its SHA-1."""
        name, version, architecture = file.stem.split("_")
        return self._add(f"/mr/binary/{name}/{version}/binfiles", file, architecture)

    def add_source(self, name: str, version: str, *files: Path) -> None:
        for file in files:
            self._add(f"/mr/package/{name}/{version}/srcfiles", file, "source")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, *_words: object) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.service.asked.append(path)
        for beginning, answers in self.service.instead.items():
            if path.startswith(beginning) and answers:
                answers.pop(0)(self)
                return
        if path in self.service.answers:
            self.reply(json.dumps(self.service.answers[path]).encode())
        elif path.startswith("/file/") and (content := self.service.files.get(path.removeprefix("/file/"))):
            self.reply_part(content)
        elif self.service.archive and path.startswith("/debian/"):
            file = self.service.archive / path.removeprefix("/debian/")
            self.reply(file.read_bytes()) if file.is_file() else self.send_error(404)
        else:
            self.send_error(404)

    def reply(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def reply_part(self, content: bytes) -> None:
        """From where it is asked to begin."""
        asked = self.headers.get("Range", "")
        if not asked:
            self.reply(content)
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin:])


def busy(seconds: int) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(429)
        handler.send_header("Retry-After", str(seconds))
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def broken(content: bytes, after: int) -> Answer:
    """The connection ends after so many bytes."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:after])
        handler.close_connection = True

    return answer


def plain(content: bytes) -> Answer:
    return lambda handler: handler.reply(content)


def redirect(target: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def endless(handler: Handler) -> None:
    """Sends until nobody listens."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    try:
        while True:
            handler.wfile.write(bytes(65536))
    except OSError:
        pass


@contextmanager
def running() -> Iterator[Service]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service = Service(f"http://127.0.0.1:{server.server_address[1]}")
        Handler.service = service
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield service
        finally:
            server.shutdown()
