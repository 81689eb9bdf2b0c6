"""What the configuration files say: the system's and the user's, in TOML, with a table for each verb.

A key is the name of an option, so that whatever the command line knows can be in a file. Values become the defaults of
the command line's options. The files are read once: the processes that cowbuild starts of itself are told what is in
them (`as_text`), since in a session's namespaces the user is another one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import hostile_tree, private
from builder.command.arguments import VerbParser
from builder.problems import Misuse, Problem
from builder.store.places import Kind, place_of

SYSTEM = Path("/etc/cowfs/cowbuild.toml")

LIMIT = 1024 * 1024
"""Bytes of a file."""

FOR_ALL = ""
"""The table of the options that stand before the verb: the top of the file."""

IN_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list of texts"}


@dataclass(frozen=True)
class Setting:
    """What a file says of one option."""

    value: Any
    """Already what the option's type makes of the text."""
    written: Any
    """As it stands in the file."""
    where: str
    """The file and line."""


Settings = Mapping[str, Mapping[str, Setting]]
"""Table -> name in the parsed arguments -> setting."""


class Replaced(list[Any]):
    """The list of an option that may be given often. What the command line gives takes its place."""

    def __copy__(self) -> list[Any]:
        # argparse copies the default before it appends to it.
        return []


def user_file() -> Path:
    return place_of(Kind.CONFIGURATION, "cowbuild.toml")


def parsers_of(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Table -> the parser whose options can be in it."""
    found = {FOR_ALL: top}
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, parser in action.choices.items():
                if parser not in found.values():
                    found[verb] = parser.fill() if isinstance(parser, VerbParser) else parser
    return found


def parser_of(top: argparse.ArgumentParser, verb: str) -> argparse.ArgumentParser:
    """The parser of a verb, by any of its names."""
    [verbs] = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    parser: VerbParser = verbs.choices[verb]
    return parser.fill()


def options_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Key -> option, for all of its long names; the name it is shown by comes first."""
    return {
        name.removeprefix("--"): action
        for action in parser._actions
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction | argparse._VersionAction)
        for name in action.option_strings
        if name.startswith("--")
        # --no-X of a switch is X = false.
        and not (isinstance(action, argparse.BooleanOptionalAction) and name.startswith("--no-"))
    }


def read(top: argparse.ArgumentParser) -> Settings:
    """What the files say, the user's over the system's. Problem naming file, line and key for what makes no sense."""
    merged: dict[str, dict[str, Setting]] = {}
    for path in (SYSTEM, user_file()):
        for table, settings in _read(path, top).items():
            merged.setdefault(table, {}).update(settings)
    return merged


def as_text(settings: Settings) -> str:
    """For another process of ours, in one word."""
    return json.dumps(
        {table: {name: [each.written, each.where] for name, each in named.items()} for table, named in settings.items()}
    )


def from_text(text: str, top: argparse.ArgumentParser) -> Settings:
    """What `as_text` made."""
    said = json.loads(text)
    parsers = parsers_of(top) if said else {}
    settings: dict[str, dict[str, Setting]] = {}
    for table, named in said.items():
        actions = {action.dest: action for action in options_of(parsers[table]).values()}
        settings[table] = {
            name: Setting(_value(actions[name], written), written, where) for name, (written, where) in named.items()
        }
    return settings


def apply(settings: Settings, top: argparse.ArgumentParser) -> None:
    """Make the settings the defaults of the parser."""
    parsers = parsers_of(top) if settings else {}
    for table, named in settings.items():
        parsers[table].set_defaults(**{name: setting.value for name, setting in named.items()})


DEFAULT = "default"

InForce = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Table -> key -> `value`, and `from`: a file with the line, or DEFAULT."""


def in_force(top: argparse.ArgumentParser, settings: Settings) -> InForce:
    """What holds for every option that can be configured, each under the first of its long names."""
    shown: dict[str, dict[str, dict[str, object]]] = {}
    for table, parser in parsers_of(top).items():
        for key, action in options_of(parser).items():
            setting = settings.get(table, {}).get(action.dest)
            if action.nargs == 0 and action.const is False:
                continue  # the negative of another one
            value = action.default if setting is None else setting.value
            named = shown.setdefault(table, {})
            if action.dest not in {options_of(parser)[other].dest for other in named}:
                named[key] = {"value": _plain(value), "from": DEFAULT if setting is None else setting.where}
    return shown


def as_toml(what: InForce) -> list[str]:
    """The lines of a configuration file with which the same holds; defaults are comments in it."""
    lines = [f"# {path}{'' if path.exists() else ', which is not there'}" for path in (SYSTEM, user_file())]
    for table, named in what.items():
        if table:
            lines += ["", f"[{table}]"]
        for key, each in named.items():
            value = "" if each["value"] is None else json.dumps(each["value"])
            lines.append(
                f"# {key} = {value}".rstrip() if each["from"] == DEFAULT else f"{key} = {value:24} # {each['from']}"
            )
    return lines


def _plain(value: Any) -> Any:
    """As JSON and TOML have it."""
    if isinstance(value, list | tuple):
        return [str(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _text(path: Path) -> str | None:
    """What is in a file; None where there is none."""
    try:
        if os.geteuid() == 0:
            private.check_only_root_writes(path)
        with hostile_tree.regular_file(path) as file:
            content = file.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise Problem(f"{path} is no configuration: it has more than {LIMIT} bytes")
        return content.decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        raise Misuse(f"{path} is not text in UTF-8") from None
    except OSError as error:
        raise Problem(f"Cannot read {path}: {error.strerror or error}") from None


def _read(path: Path, top: argparse.ArgumentParser) -> dict[str, dict[str, Setting]]:
    text = _text(path)
    if text is None:
        return {}
    # Most have no file.
    import tomllib

    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misuse(f"{path} is not TOML: {error}", "Text is in quotes; switches are true or false.") from None
    except (ValueError, RecursionError):  # a number of thousands of digits, lists in lists in lists
        raise Misuse(f"{path} is TOML that nothing here can be set by") from None
    parsers = parsers_of(top)
    settings: dict[str, dict[str, Setting]] = {}
    for table, key, value in _pairs(said, parsers):
        where = f"{path}, line {_line(text, table, key)}"
        if table not in parsers:
            raise Misuse(f"{where}: there is no table [{table}]", _similar(table, list(parsers)))
        options = options_of(parsers[table])
        if key not in options:
            raise Misuse(f"{where}: there is no option {_shown(table, key)}", _hint(table, key, parsers))
        try:
            setting = Setting(_value(options[key], value), value, where)
        except (ValueError, argparse.ArgumentTypeError) as error:
            reason = str(error).removeprefix("must be ")
            raise Misuse(f"{where}: {_shown(table, key)} must be {reason}") from None
        settings.setdefault(table, {})[options[key].dest] = setting
    return settings


def _pairs(said: Mapping[str, Any], parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[tuple[str, str, Any]]:
    """Table, key and value of everything in a file."""
    for key, value in said.items():
        if not isinstance(value, dict):
            yield FOR_ALL, key, value
        elif key not in parsers:
            yield key, "", None
        else:
            yield from ((key, below, value_below) for below, value_below in value.items())


def _value(action: argparse.Action, written: Any) -> Any:
    """What the option makes of a value. ValueError saying what it has to be."""
    if action.nargs == 0:
        _demand(bool, written)
        return written != (action.const is False)
    if isinstance(action, argparse._AppendAction):
        _demand(list, written)
        return Replaced(_converted(action, each) for each in written)
    if (made := _made_of_text(action)) is not None and not isinstance(written, str):
        _demand(list, written)
        for each in written:
            _converted(action, each)
        return made(written)
    return _converted(action, written)


def _made_of_text(action: argparse.Action) -> Callable[[list[str]], Any] | None:
    """The kind of list that an option makes of a text; None where it makes something else of it."""
    if not callable(action.type):
        return None
    with suppress(ValueError, argparse.ArgumentTypeError):
        for kind in (list, tuple):
            if isinstance(action.type(""), kind):
                return kind
    return None


def _converted(action: argparse.Action, written: Any) -> Any:
    kind = action.type if action.type in (int, float) else str
    _demand(kind, written)
    if action.choices is not None and written not in action.choices:
        raise ValueError(f"one of {', '.join(map(str, action.choices))}")
    return action.type(written) if callable(action.type) else written


def _demand(kind: Any, written: Any) -> None:
    texts = [written] if isinstance(written, str) else written if isinstance(written, list) else []
    if any(isinstance(each, str) and "\0" in each for each in texts):
        raise ValueError("text without the character 0")
    fits = isinstance(written, (int, float) if kind is float else kind) and isinstance(written, bool) == (kind is bool)
    if not fits or (kind is list and not all(isinstance(each, str) for each in written)):
        raise ValueError(f"{IN_WORDS[kind]}, not {json.dumps(written, default=str)}")


def _shown(table: str, key: str) -> str:
    return f"{key} in [{table}]" if table else key


def _hint(table: str, key: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    options = options_of(parsers[table])
    if key.startswith("no-") and key.removeprefix("no-") in options:
        return f"Write {key.removeprefix('no-')} = false"
    elsewhere = [verb for verb, parser in parsers.items() if verb != table and key in options_of(parser)]
    if elsewhere:
        return f"It belongs into {' or '.join(f'[{verb}]' if verb else 'the top of the file' for verb in elsewhere)}."
    return _similar(key, list(options))


def _similar(word: str, known: list[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, cutoff=0.5)
    return f"Meant: {' or '.join(close)}?" if close else f"Known: {', '.join(sorted(filter(None, known)))}"


def _line(text: str, table: str, key: str) -> int:
    """The line that a key is on; TOML's readers do not tell. The first line where it is written in an unusual way."""
    current = FOR_ALL
    heading = 1
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*\[\s*[\"']?([^\]\"']*?)[\"']?\s*\]", line):
            current = found[1]
            heading = number if current == table else heading
        elif current == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line) and key:
            return number
    return heading
