"""Cross building: packages for a host architecture, made by compilers that run on the base's own (sbuild's --host)."""

from __future__ import annotations

import re
from pathlib import Path

from builder.debian import architectures, base_facts
from builder.problems import Misuse

# sbuild's, unless others are asked for: what was built does not run here, so its tests cannot either.
PROFILES = ("cross", "nocheck")

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def host(wanted: str | None, build: str | None, tree: Path | None) -> str | None:
    """The architecture to cross build for; None where the base's own is wanted.

    Without a base, as one made for `build` or else the machine's architecture would have it. Problem
    when `build`, where given, is not the base's, or `wanted` cannot be an architecture.
    """
    own = build or architectures.machine() if tree is None else base_facts.architecture(tree)
    if build is not None and build != own:
        raise Misuse(
            f"The base {tree} is of the architecture {own}, not of {build}", "cowbuild create NAME --arch " + build
        )
    if wanted is not None and not _NAME.fullmatch(wanted):
        raise Misuse(f"{wanted!r} cannot be an architecture", "`dpkg-architecture --list-known` names them.")
    return wanted if wanted != own else None


def dependencies(architecture: str) -> list[str]:
    """What a cross build has without saying so; the libraries because crossbuild-essential lacks them (#815172)."""
    return [f"crossbuild-essential-{architecture}:native, libc-dev:{architecture}, libstdc++-dev:{architecture}"]


def variables(architecture: str) -> dict[str, str]:
    """What autoconf cannot try out by running it, dpkg-cross knows."""
    return {"CONFIG_SITE": f"/etc/dpkg-cross/cross-config.{architecture}"}
