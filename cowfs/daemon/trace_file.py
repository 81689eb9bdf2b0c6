r"""The file of `--trace`: JSON, a line for each path that was used.

The first line says what the others are about; `base` in them is a position in its `bases`. A path is absolute in the
mount. Bytes in it that are no UTF-8 are written as Python's surrogateescape has them: \udcNN for the byte NN.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from cowfs.union.file_types import TYPE_NAMES
from cowfs.union.uses import Record, Use, Uses

FORMAT = 1


class TraceError(Exception):
    """The trace cannot be written; the text is a sentence for the user."""


class Trace:
    """Where the uses of a tree are written to: at its end, and whenever somebody wants to have them."""

    def __init__(self, path: Path, bases: list[Path], uses: Uses) -> None:
        self._path = path
        self._bases = bases
        self.uses = uses
        self._begun = time.time()
        umask = os.umask(0)
        os.umask(umask)
        self._mode = 0o666 & ~umask
        """Of the file: when it is written, the daemon has the umask 0, and the caller's is gone."""

    def write(self) -> None:
        """Write the file, whole or not at all, and begin anew. TraceError."""
        ended = time.time()
        records = self.uses.take()
        header = {
            "cowfs-trace": FORMAT,
            "bases": [os.fsdecode(base) for base in self._bases],
            "begun": self._begun,
            "ended": ended,
        }
        self._begun = ended
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with open(os.open(partial, flags, self._mode), "w", encoding="ascii") as file:
                file.write(json.dumps(header) + "\n")
                file.writelines(json.dumps(_line(path, records[path])) + "\n" for path in sorted(records))
            partial.rename(self._path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise TraceError(f"Cannot write the trace {self._path}: {error.strerror}.") from error


def check_place(path: Path) -> None:
    """TraceError where no trace can be written, before anything is done to need one."""
    if path.is_dir():
        raise TraceError(f"Cannot write the trace {path}: it is a directory.")
    if not path.parent.is_dir():
        raise TraceError(f"Cannot write the trace {path}: there is no directory {path.parent}.")
    if not os.access(path.parent, os.W_OK):
        raise TraceError(f"Cannot write the trace {path}: the directory may not be written to.")


def _line(path: bytes, record: Record) -> dict[str, object]:
    return {
        "path": path.decode("utf-8", "surrogateescape"),
        "type": TYPE_NAMES.get(record.type, "unknown"),
        "uses": [use.word for use in Use if use in record.uses],
        "base": record.base,
        "size": record.size,
    }
