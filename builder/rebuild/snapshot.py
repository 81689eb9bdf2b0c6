"""A snapshot service, by the machine interface that snapshot.debian.org has: every version that an archive ever had.

    /mr/binary/NAME/VERSION/binfiles?fileinfo=1     the files of a binary package, one for each architecture
    /mr/package/NAME/VERSION/srcfiles?fileinfo=1    the files of a source package
    /file/SHA1                                      one of them

It names files by their SHA-1. Nothing that it calls a file becomes a path here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from builder.problems import Misuse
from builder.rebuild.buildinfo import Binary
from builder.rebuild.download import Refused, Server

ANSWER_LIMIT = 4 * 1024 * 1024
FILE_LIMIT = 8 * 1024**3
"""Bytes of an answer, and of a package: more is nobody's."""
SHA1 = re.compile(r"[0-9a-f]{40}")
ADDRESS = re.compile(r"https?://[^/\s?#]+(/[^\s?#]*)?")


@dataclass(frozen=True)
class File:
    """A file that the service has."""

    sha1: str
    size: int
    names: frozenset[str]


class Snapshot:
    """A service at an address."""

    def __init__(self, address: str, say: Callable[[str], None]) -> None:
        """Misuse where that is no address."""
        check_address(address)
        self.address = address.rstrip("/")
        self._server = Server(say)

    def binary(self, package: Binary) -> File:
        """The file of a binary package. Refused where there is none of it, Problem."""
        answer = self._asked(f"binary/{quote(package.name)}/{quote(package.version, safe='')}/binfiles")
        files = _files(answer)
        for wanted in (package.architecture, "all"):
            for each in _list(answer.get("result")):
                if isinstance(each, dict) and each.get("architecture") == wanted and _hash(each) in files:
                    return files[each["hash"]]
        raise Refused(f"{self.address} has no {package}")

    def source(self, name: str, version: str) -> list[File]:
        """The files of a source package. Refused where there is none, Problem."""
        answer = self._asked(f"package/{quote(name)}/{quote(version, safe='')}/srcfiles")
        files = _files(answer)
        listed = [files[each["hash"]] for each in _list(answer.get("result")) if _hash(each) in files]
        if not listed:
            raise Refused(f"{self.address} has no source of {name} {version}")
        return listed

    def fetch(self, file: File, target: Path) -> None:
        """Refused, Problem where it does not come as it should."""
        self._server.file(f"{self.address}/file/{file.sha1}", target, size=file.size, digest=file.sha1, kind="sha1")

    def _asked(self, what: str) -> Mapping[str, Any]:
        url = f"{self.address}/mr/{what}?fileinfo=1"
        try:
            answer = json.loads(self._server.text(url, ANSWER_LIMIT))
        except (ValueError, RecursionError):
            raise Refused(f"{url} gives an answer that is no JSON") from None
        if not isinstance(answer, dict):
            raise Refused(f"{url} gives an answer that is no JSON object")
        return answer


def check_address(address: str) -> None:
    """Misuse where it is none of a server."""
    if not ADDRESS.fullmatch(address):
        raise Misuse(f"{address!r} is no address of a snapshot service", "--snapshot https://snapshot.debian.org")


def _hash(each: Any) -> Any:
    found = each.get("hash") if isinstance(each, dict) else None
    return found if isinstance(found, str) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _files(answer: Mapping[str, Any]) -> dict[str, File]:
    """By their SHA-1; what is not as it should be is not there."""
    told = answer.get("fileinfo")
    found = {}
    for sha1, entries in (told if isinstance(told, dict) else {}).items():
        good = [each for each in _list(entries) if isinstance(each, dict) and _is_size(each.get("size"))]
        if SHA1.fullmatch(sha1) and good:
            names = frozenset(each["name"] for each in good if isinstance(each.get("name"), str))
            found[sha1] = File(sha1, good[0]["size"], names)
    return found


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= FILE_LIMIT
