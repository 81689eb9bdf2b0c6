"""Files over HTTP from a server that may be slow, busy, broken or hostile."""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO

from builder.problems import Problem

CHUNK = 256 * 1024
SILENCE = 60.0
"""Seconds that a server may say nothing."""
ATTEMPTS = 5
LONGEST_WAIT = 300.0
"""Seconds that a server may ask us to wait before the next request."""
SLOWEST, GRACE = 1024, 60.0
"""Bytes a second, on average after so many seconds: who sends less sends for ever."""
BUSY = (429, 502, 503, 504)

Say = Callable[[str], None]


class Refused(Problem):
    """The server has no such thing (404), or answers what it must not."""


class _Busy(ConnectionError):
    """The server asked to be left alone for a while, and was."""


class _OnlyHttp(urllib.request.HTTPRedirectHandler):
    """Follows a server only to another: not to files, and nowhere else that urllib knows."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if not re.match(r"https?://[^/]", newurl):
            raise Refused(f"{req.full_url} leads to {newurl:.200}, which is no server")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class Server:
    """A server of files, asked for one after the other."""

    def __init__(self, say: Say) -> None:
        """`say` is told what takes long."""
        self._say = say
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler,
            urllib.request.HTTPHandler,
            urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler,
            urllib.request.HTTPErrorProcessor,
            _OnlyHttp,
        ):
            self._opener.add_handler(handler())

    def text(self, url: str, limit: int) -> bytes:
        """What there is at an address, no more than `limit` bytes. Refused, Problem."""
        for left in reversed(range(ATTEMPTS)):
            try:
                content = self._read(url, limit, left)
            except (OSError, http.client.HTTPException) as error:
                self._wait_or_give_up(url, error, left)
                continue
            if len(content) <= limit:
                return content
            break
        raise Refused(f"{url} does not end after {limit} bytes")

    def _read(self, url: str, limit: int, left: int) -> bytes:
        """OSError, HTTPException where the connection breaks."""
        content = bytearray()
        with self._open(url, left) as answer:
            started = time.monotonic()
            while len(content) <= limit and (piece := answer.read1(CHUNK)):
                content += piece
                _check_speed(url, len(content), started)
        return bytes(content)

    def file(self, url: str, target: Path, *, size: int, digest: str, kind: str) -> None:
        """Fetch a file of that size (bytes) and checksum (`kind`: sha1, sha256) to `target`. Refused, Problem.

        What an earlier attempt left beside it, be it another process's, is gone on with.
        """
        partial = target.with_name(target.name + ".partial")
        for left in reversed(range(ATTEMPTS)):
            try:
                self._go_on(url, partial, size, left)
            except (OSError, http.client.HTTPException) as error:
                self._wait_or_give_up(url, error, left)
                continue
            with partial.open("rb") as file:
                found = hashlib.file_digest(file, kind).hexdigest()
            if found == digest and partial.stat().st_size == size:
                partial.rename(target)
                return
            partial.unlink()
            # The first part may have been another file's.
            if left < ATTEMPTS - 1:
                break
        raise Refused(f"What comes from {url} is not the file of {size} bytes with the {kind} {digest}")

    def _go_on(self, url: str, partial: Path, size: int, left: int) -> None:
        """OSError, HTTPException where the connection breaks; what came until then is kept."""
        have = partial.stat().st_size if partial.exists() else 0
        if have > size:
            partial.unlink()
            have = 0
        if have == size > 0:
            return
        with self._open(url, left, have) as answer, partial.open("ab" if answer.status == 206 else "wb") as file:
            if answer.status == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                raise Refused(f"{url} goes on elsewhere than it was asked to")
            have = file.tell()
            started = time.monotonic()
            first = have
            while piece := answer.read1(CHUNK):
                have += len(piece)
                if have > size:
                    partial.unlink()
                    raise Refused(f"{url} does not end after {size} bytes")
                file.write(piece)
                _check_speed(url, have - first, started)
        if have < size:
            raise ConnectionError(f"it ended after {have} of {size} bytes")

    def _open(self, url: str, left: int, begin: int = 0) -> http.client.HTTPResponse:
        request = urllib.request.Request(url, headers={"User-Agent": "cowbuild", "Accept-Encoding": "identity"})
        if begin:
            request.add_header("Range", f"bytes={begin}-")
        try:
            answer = self._opener.open(request, timeout=SILENCE)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in BUSY and left:
                wait = _seconds(error.headers.get("Retry-After", ""), left)
                self._say(f"I: {url} is busy ({error.code}); asked again in {wait:.0f} s")
                time.sleep(wait)
                raise _Busy(f"busy ({error.code})") from None
            raise Refused(f"{url} cannot be had: {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise ConnectionError(str(error.reason)) from None
        except ValueError as error:  # led to an address that is none
            raise Refused(f"{url} cannot be had: {error}") from None
        assert isinstance(answer, http.client.HTTPResponse)
        return answer

    def _wait_or_give_up(self, url: str, error: Exception, left: int) -> None:
        """Problem after the last attempt."""
        if not left:
            raise Problem(f"{url} cannot be had: {error}") from None
        if not isinstance(error, _Busy):
            self._say(f"W: {url}: {error}; tried again")
            time.sleep(0.5 * (ATTEMPTS - left))


def _check_speed(url: str, come: int, started: float) -> None:
    """Refused where so many bytes since then are too few."""
    passed = time.monotonic() - started
    if passed > GRACE and come < SLOWEST * passed:
        raise Refused(f"{url} sends less than {SLOWEST} bytes a second")


def _seconds(retry_after: str, left: int) -> float:
    """How long to wait before a busy server is asked again: as it says, else longer each time."""
    if re.fullmatch(r"[0-9]{1,6}", retry_after):
        return min(float(retry_after), LONGEST_WAIT)
    return 2.0 ** (ATTEMPTS - left)
