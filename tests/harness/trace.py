"""Reading what strace(1) wrote (`strace -f -y`): which calls wrote to, or changed, something below a directory."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)$")
_DESCRIPTOR = re.compile(r"(AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>")
_ARGUMENT = re.compile(r'(?:AT_FDCWD|\d+)<(?P<at>(?:[^>\\]|\\.)*)>|"(?P<text>(?:[^"\\]|\\.)*)"|(?P<comma>, )')
_ABOVE_PROC = re.compile(r"^/proc/(?:self|\d+)/fd/(\d+)(?:/(.*))?$")
_OPEN_TO_WRITE = re.compile(r"O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)")
_CHANGING_IOCTL = re.compile(r"FICLONE|CLONE|SETFLAGS|FSSETXATTR|DEDUPE|SETVERSION")

_OPENS = ("open", "openat", "openat2")
_CHANGES = re.compile(
    r"creat|truncate|ftruncate|fallocate|(?:l|f)?(?:setxattr|removexattr)|(?:set|remove)xattrat|"
    r"(?:p?write(?:v2?|64)?)|copy_file_range|sendfile(?:64)?|splice|ioctl|"
    r"(?:un)?link(?:at)?|symlink(?:at)?|rename(?:at2?)?|mkdir(?:at)?|rmdir|mknod(?:at)?|"
    r"(?:f|l)?ch(?:mod|own)(?:at2?)?|utime|utimes|futimesat|utimensat|file_setattr"
)
# Arguments that say what is written or read, not where: their positions.
_NO_TARGET = {
    "symlink": (0,),
    "symlinkat": (0,),
    "copy_file_range": (0,),
    "splice": (0,),
    "sendfile": (1,),
    "ioctl": (2,),
}


def writes_below(top: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines of a trace that change, or open for writing, something at or below `top`, or that cannot be judged."""
    opened: dict[str, str] = {}
    for line in lines:
        call = _CALL.match(line)
        if not call:
            continue
        name, rest = call.groups()
        opened.update((number, path) for number, path in _DESCRIPTOR.findall(line) if number != "AT_FDCWD")
        if name.startswith("syscall_"):  # too young for this strace, as fchmodat2(2): shown with plain numbers
            number = str(int(rest.partition(",")[0], 0))
            if _is_below(opened.get(number, top), top):
                yield line
        elif (name in _OPENS and _OPEN_TO_WRITE.search(rest)) or (
            _CHANGES.fullmatch(name) and (name != "ioctl" or _CHANGING_IOCTL.search(rest))
        ):
            if any(_is_below(path, top) for path in _targets(name, rest, opened)):
                yield line


def _targets(name: str, rest: str, opened: dict[str, str]) -> Iterator[str]:
    """The paths that a call's arguments lead to: of descriptors, and of names in the directory before them."""
    position = 0
    directory = ""
    writes_data = "write" in name
    for argument in _ARGUMENT.finditer(rest):
        if argument["comma"]:
            position += 1
        elif position in _NO_TARGET.get(name, ()):
            continue
        elif argument["at"] is not None:
            directory = argument["at"]
            yield directory
        elif not writes_data:
            yield _resolve(argument["text"], directory, opened)


def _resolve(text: str, directory: str, opened: dict[str, str]) -> str:
    through_proc = _ABOVE_PROC.match(text)
    if through_proc:
        number, below = through_proc.groups()
        return posixpath.join(opened.get(number, "/unknown"), below or "")
    return posixpath.join(directory, text)


def _is_below(path: str, top: str) -> bool:
    path = posixpath.normpath(path.removesuffix(" (deleted)"))
    return path == top or path.startswith(top + "/")
