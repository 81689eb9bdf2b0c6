"""Answers what is asked of a running mount through its control socket, control.py; a task of trio."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import trio

from cowfs.daemon.control import LIMIT, ControlSocket
from cowfs.layer.metadata import LayerError
from cowfs.untrusted_json import parse_json

_PATIENCE = 10.0
"""Seconds for a question to come; the mount answers one at a time."""

_log = logging.getLogger("cowfs")


async def answer_questions(control: ControlSocket, snapshot: Callable[[Path], Awaitable[None]]) -> None:
    """For as long as the mount lives. `snapshot` freezes the layer as that directory; LayerError, OSError."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(control.listener()))
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


def _may_ask(stream: trio.SocketStream) -> bool:
    _, user, _ = struct.unpack("=iII", stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return user in (0, os.geteuid())


async def _line(stream: trio.SocketStream) -> bytes:
    said = b""
    while not said.endswith(b"\n") and len(said) < LIMIT:
        piece = await stream.receive_some(LIMIT)
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
