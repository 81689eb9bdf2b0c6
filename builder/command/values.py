"""Which values of options make sense, be they from the command line or a file; known before anything is begun."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from builder.command.configuration import Settings
from builder.problems import Misuse

# Seconds. The kernel waits for as many milliseconds as an int holds (epoll_wait(2)), which are a few more.
LONGEST = 2_000_000


def check_settings(settings: Settings) -> None:
    """Misuse naming file and line where a file says of an option what makes no sense."""
    for named in settings.values():
        for name, setting in named.items():
            for reason in _reasons(name, setting.value):
                raise Misuse(f"{setting.where}: {name.replace('_', '-')} {reason}")


def check_arguments(arguments: argparse.Namespace, verb: argparse.ArgumentParser) -> None:
    """Exit with a usage message where the command line gives an option of the verb what makes no sense."""
    for action in verb._actions:
        for reason in _reasons(action.dest, getattr(arguments, action.dest, None)):
            verb.error(f"argument {'/'.join(action.option_strings)}: {reason}")


def _reasons(name: str, value: Any) -> Iterable[str]:
    """What is wrong with the values of an option, given its name in the parsed arguments."""
    check = CHECKS.get(name)
    if check is None or value is None:
        return
    for each in value if isinstance(value, list | tuple) else [value]:
        if (reason := check(each)) is not None:
            yield reason


def _from(least: float, most: float | None = None) -> Callable[[Any], str | None]:
    def check(number: float) -> str | None:
        # Not a number and infinity are none.
        if least <= number < float("inf") and (most is None or number <= most):
            return None
        return f"must be at least {least:g}{'' if most is None else f' and at most {most:g}'}, not {number}"

    return check


def _matching(pattern: str, meaning: str) -> Callable[[Any], str | None]:
    compiled = re.compile(pattern)

    def check(text: str) -> str | None:
        return None if compiled.fullmatch(text) else f"must be {meaning}, not {text!r}"

    return check


def _architecture(text: str) -> str | None:
    from builder.debian import depends

    known = depends.is_architecture(text)
    return None if known else f"must be an architecture (`dpkg-architecture --list-known`), not {text!r}"


def _relations(text: str) -> str | None:
    from builder.debian import depends

    wrong = depends.misunderstood(text)
    return None if wrong is None else f"must be relations as in Build-Depends, not {wrong!r}"


def _own_directory(text: str) -> str | None:
    from builder.build.job import IN_UNION  # much else with it, that no other option needs

    return None if text in IN_UNION else f"must be {' or '.join(IN_UNION)}, not {text!r}"


def _variation(text: str) -> str | None:
    from builder.build import vary

    try:
        vary.chosen([text])
    except Misuse as wrong:
        return f"must be variations: {wrong}. {wrong.hint}"
    return None


_suite = _matching(r"[A-Za-z0-9][A-Za-z0-9+._/-]*", "the name of a release")

CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    **dict.fromkeys(("jobs", "number", "parallel", "binNMU", "compiler_cache_size", "limit"), _from(1)),
    **dict.fromkeys(("apt_update_age", "deps_cache_age", "deps_cache_size", "downloads_size", "size"), _from(0)),
    **dict.fromkeys(("time_limit", "silence_limit"), _from(0.001, LONGEST)),
    **dict.fromkeys(("arch", "host"), _architecture),
    **dict.fromkeys(("add_depends", "add_conflicts"), _relations),
    **dict.fromkeys(("suite", "dist"), _suite),
    # A namespace may be in it (https://wiki.debian.org/BuildProfileSpec).
    "profiles": _matching(r"[a-z0-9][a-z0-9+.-]*", "the name of a build profile"),
    "mirror": _matching(r"[a-z][a-z0-9+.-]*:\S+", "an address as in sources.list"),
    "apt_proxy": _matching(r"none|(https?|socks5h)://[^@/\s]+/?", "none, or as http://HOST:PORT, without a password"),
    "vary": _variation,
    "quota": _matching(r"(?=.*\d)(?i:(\d+[KMGT]?(i?B)?)?([,:]\d*)?)", "as 4G, 4G,100000 or ,100000"),
    "in_union": _own_directory,
    "build_in_memory": _matching(r"[1-9]\d{0,11}[KMGTkmgt]?|[1-9]\d?%|100%", "as 4G or 50%"),
    "output": _matching(r".+", "a directory"),
}
