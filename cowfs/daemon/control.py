"""What a running mount can be told to do: a socket in its layer directory, and one question at a time.

The directory is out of reach of what runs inside the mount, and only its owner and root are answered. A question is a
line of JSON, {"snapshot": DIRECTORY}, and so is the answer: {} or {"error": SENTENCE}. answering.py answers.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cowfs.layer.metadata import LayerError
from cowfs.untrusted_json import parse_json

NAME = "control"

LIMIT = 16384
"""Bytes of a question, or an answer."""


class ControlSocket:
    """Listens in a layer directory, also after that was moved: then the socket is moved back."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with suppress(FileNotFoundError):
                os.unlink(directory / NAME)
            with _address(directory) as address:
                self._socket.bind(address)
            os.chmod(directory / NAME, 0o600)
            self._socket.listen()
        except OSError:
            self._socket.close()
            raise

    def moved(self, directory: Path) -> None:
        """The layer directory is another one now; what it was is `directory`."""
        os.rename(directory / NAME, self._directory / NAME)

    def close(self) -> None:
        self._socket.close()
        with suppress(FileNotFoundError):
            os.unlink(self._directory / NAME)

    def listener(self) -> socket.socket:
        """For whoever answers; to be closed by the caller."""
        return self._socket.dup()


def ask(directory: Path, question: dict[str, str]) -> None:
    """Ask the daemon that has this layer mounted. LayerError, also if it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _address(directory) as address:
            connection.connect(address)
            connection.sendall(json.dumps(question).encode() + b"\n")
            said = connection.makefile("rb").readline(LIMIT)
    except OSError as error:
        raise LayerError(
            f"Cannot reach the daemon of {directory}: {error.strerror}. Only its user and root can."
        ) from error
    if not said:
        raise LayerError(f"The daemon of {directory} did not answer: only its user and root may ask.")
    try:
        answer = parse_json(said)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise LayerError(f"What the daemon of {directory} answers makes no sense: is it of another version?")
    if "error" in answer:
        raise LayerError(str(answer["error"]))


@contextmanager
def _address(directory: Path) -> Iterator[str]:
    """A name of the socket that is never too long, unix(7)."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{NAME}"
    finally:
        os.close(fd)
