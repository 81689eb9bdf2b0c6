"""The options of pbuilder(8) and cowbuilder(8): which there are, and what becomes of each."""

from __future__ import annotations

import getopt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from builder.problems import Misuse

OPERATIONS = ("create", "update", "build", "login", "execute", "debuild", "clean", "dumpconfig", "help", "version")


class Is(Enum):
    """What becomes of an option."""

    PASSED = "given to pbuilder"
    DONE = "done here"
    NEEDLESS = "without effect, a session has no need of it"
    REFUSED = "refused, with the reason"


@dataclass(frozen=True)
class Option:
    name: str
    has_value: bool
    what: Is = Is.PASSED
    why: str = ""
    """Of one that is refused: why, and what to do."""


BY_COWBUILD = "cowbuild gives pbuilder its build place itself: leave it out."

TABLE = (
    Option("basepath", has_value=True, what=Is.DONE),
    Option("buildplace", has_value=True, what=Is.DONE),
    Option("configfile", has_value=True),
    Option("distribution", has_value=True, what=Is.DONE),
    Option("save-after-login", has_value=False),
    Option("save-after-exec", has_value=False),
    *(Option(name, has_value=False, what=Is.DONE) for name in OPERATIONS),
    # There is no cowdancer in a session; what the others mount pbuilder mounts.
    *(
        Option(name, has_value=False, what=Is.NEEDLESS)
        for name in (
            *("no-cowdancer-update", "debian-etch-workaround", "arch-diskdevice", "preserve-buildplace"),
            *("mountproc", "mountdev", "mountdevpts", "nomountproc", "nomountdev", "nomountdevpts"),
        )
    ),
    *(
        Option(name, has_value=True)
        for name in (
            *("aptcache", "aptconfdir", "architecture", "bindmounts", "bin-nmu", "bin-nmu-maintainer"),
            *("bin-nmu-timestamp", "bin-nmu-version", "buildresult", "components", "compressprog", "debbuildopts"),
            *("debemail", "debootstrap", "debootstrapopts", "extrapackages", "hookdir", "host-arch", "http-proxy"),
            *("inputfile", "keyring", "logfile", "loglevel", "mirror", "othermirror", "outputfile", "profiles"),
            *("removepackages", "timeout", "use-cgroup", "use-network"),
        )
    ),
    *(
        Option(name, has_value=False)
        for name in (
            *("allow-untrusted", "autocleanaptcache", "binary-arch", "binary-indep", "debdelta", "debug"),
            *("no-auto-cross", "no-source-only-changes", "override-config", "pkgname-logfile", "source-only-changes"),
            "twice",
        )
    ),
    Option("basetgz", True, Is.REFUSED, "Its bases are tarballs, and these directories: --basepath DIRECTORY."),
    Option("no-targz", False, Is.REFUSED, BY_COWBUILD),
    Option("internal-chrootexec", True, Is.REFUSED, BY_COWBUILD),
    Option("internal-build-uml", False, Is.REFUSED, "There is no user-mode Linux here: leave it out."),
)
"""Every option of cowbuilder(8) and pbuilder(8)."""

OPTIONS: Mapping[str, Option] = {option.name: option for option in TABLE}
SHORT = {"-b": "basepath", "-h": "help", "-v": "version"}

Said = list[tuple[Option, str]]
"""Options as they were given, in this order, with their values; an empty one for those that have none."""

Splitter = Callable[[list[str], str, list[str]], tuple[list[tuple[str, str]], list[str]]]


def split(words: Sequence[str], program: str, splitter: Splitter = getopt.getopt) -> tuple[Said, list[str]]:
    """The options in a command line, without those that are needless, and what else stands in it.

    With getopt.getopt the first word that is none ends them, as for pbuilder; with gnu_getopt they may stand anywhere,
    as for cowbuilder. Misuse for one that is not known or cannot be had.
    """
    known = [f"{option.name}{'=' if option.has_value else ''}" for option in TABLE]
    try:
        found, arguments = splitter(list(words), "b:hv", known)
    except getopt.GetoptError as error:
        raise Misuse(f"{program}: {error.msg}", "man cowbuilder; man pbuilder") from None
    said = [(OPTIONS[SHORT.get(name, name.removeprefix("--"))], value) for name, value in found]
    for option, _value in said:
        if option.what is Is.REFUSED:
            raise Misuse(f"{program}'s --{option.name} cannot be had", option.why)
    return [(option, value) for option, value in said if option.what is not Is.NEEDLESS], arguments


def as_words(said: Said) -> list[str]:
    """As one would type them."""
    return [word for option, value in said for word in (f"--{option.name}", *([value] if option.has_value else []))]
