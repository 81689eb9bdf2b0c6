"""Where, when and by whom a build is run, as far as it can see that: what is the same each time unless it is varied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from builder.session.sandbox import Identity

# Above the users and the system users of Debian (Policy 9.2.2), so that outside a user namespace it is nobody's.
BUILDER = Identity(uid=60998, gid=60998)
USER_NAME = "cowbuild"

# Not the machine's, which is nobody's business, and not what a build should depend on.
HOST_NAME = "cowbuild"

VARIABLES = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "SHELL": "/bin/sh",
}


@dataclass(frozen=True)
class Surroundings:
    """What a session shows, and what a build in it is started with."""

    conditions: tuple[str, ...] = ()
    """Options of cowfs: the order of listings, inode numbers, block counts."""
    builder: Identity = BUILDER
    user_name: str = USER_NAME
    """Of the user who builds and of the group."""
    home: str = "/nonexistent"
    host_name: str = HOST_NAME
    domain: str = ""
    umask: str = "022"
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the build's environment, beside those that are always there or instead of them."""
    started_with: tuple[str, ...] = ()
    """Words before every command: personality, processors."""
    clock_ahead: int = 0
    """Seconds, of the clocks that count from the machine's start."""
    days_ahead: int = 0
    """Days, of the clock that tells the date."""
    place: str | None = None
    """Where the build is, instead of where it was asked to be."""
    jobs: int | None = None
    """How many, instead of how many were asked for."""

    @property
    def is_usual_builder(self) -> bool:
        return (self.user_name, self.builder, self.home) == (USUAL.user_name, USUAL.builder, USUAL.home)


USUAL = Surroundings()
