"""What a running mount can be told to do: a socket in its layer directory, and one question at a time.

The directory is out of reach of what runs inside the mount, and only its owner and root are answered. A question is a
line of JSON, {"snapshot": DIRECTORY}, and so is the answer: {} or {"error": SENTENCE}.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from cowfs.layer.metadata import LayerError
from cowfs.untrusted_json import parse_json

NAME = "control"

_log = logging.getLogger("cowfs")

_LIMIT = 16384
_PATIENCE = 10.0
"""Seconds for a question to come; the mount answers one at a time."""


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

    async def serve(self, snapshot: Callable[[Path], Awaitable[None]]) -> None:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._socket.dup()))
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:  # no descriptor left, say
                    _log.error("a question cannot be taken: %s", error.strerror)
                    await trio.sleep(1)
                    continue
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    async with stream:
                        with trio.move_on_after(_PATIENCE) as waiting:
                            question = await _line(stream)
                        if not waiting.cancelled_caught and _may_ask(stream):
                            await stream.send_all(json.dumps(await _answer(question, snapshot)).encode() + b"\n")


def ask(directory: Path, question: dict[str, str]) -> None:
    """Ask the daemon that has this layer mounted. LayerError, also if it refuses."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _address(directory) as address:
            connection.connect(address)
            connection.sendall(json.dumps(question).encode() + b"\n")
            said = connection.makefile("rb").readline(_LIMIT)
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


def _may_ask(stream: trio.SocketStream) -> bool:
    _, user, _ = struct.unpack("=iII", stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return user in (0, os.geteuid())


async def _line(stream: trio.SocketStream) -> bytes:
    said = b""
    while not said.endswith(b"\n") and len(said) < _LIMIT:
        piece = await stream.receive_some(_LIMIT)
        if not piece:
            break
        said += piece
    return said


async def _answer(question: bytes, snapshot: Callable[[Path], Awaitable[None]]) -> dict[str, str]:
    try:
        directory = Path(parse_json(question)["snapshot"])
        if not directory.is_absolute() or b"\0" in os.fsencode(directory):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        return {"error": "The daemon does not understand the question: is it of another version?"}
    try:
        await snapshot(directory)
    except LayerError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"error": f"The layer cannot be frozen: {error.strerror}."}
    except Exception as error:  # a defect in cowfs must not end the mount
        _log.exception("freezing the layer failed unexpectedly")
        return {"error": f"Freezing the layer failed unexpectedly: {error!r}. Unmount."}
    return {}
