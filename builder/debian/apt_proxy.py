"""The proxy that apt in sessions asks: the one that was named, else the one that auto-apt-proxy finds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

from builder.problems import printable

NONE = "none"
"""What the user says for no proxy, whatever the base is configured for."""
DIRECT = "DIRECT"
"""What apt.conf(5) says, and auto-apt-proxy."""

PROGRAM = "auto-apt-proxy"
FOUND_WITHIN = 20.0
"""Seconds for it to look at the network."""


def find(named: str | None, say: Callable[[str], None]) -> str:
    """An address or DIRECT; empty where the base's own configuration decides. `say` hears of failures."""
    if named is not None:
        return DIRECT if named == NONE else named
    if shutil.which(PROGRAM) is None:
        return ""
    failure, found = "", ""
    try:
        done = subprocess.run(
            [PROGRAM], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FOUND_WITHIN, check=False
        )
        found = done.stdout.strip()
        if done.returncode != 0:
            failure = f"exit code {done.returncode} {done.stderr.strip()}"
    except subprocess.TimeoutExpired:
        failure = f"no answer within {FOUND_WITHIN:.0f} seconds"
    if failure:
        say(f"W: {PROGRAM} finds no proxy for apt: {printable(failure)}")
        return ""
    return "" if found == DIRECT else found


def options(proxy: str) -> tuple[str, ...]:
    """What apt and aptitude are told of it; they ask it for https, too, as they always do."""
    return ("-o", f"Acquire::http::Proxy={proxy}") if proxy else ()
