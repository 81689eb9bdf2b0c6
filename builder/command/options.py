"""What can be said to `cowbuild`: its verbs and options, sbuild's names where sbuild has them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from builder.build import hooks
from builder.build.job import PLACE, PURGE, TESTERS
from builder.command import configuration, values
from builder.debian import apt
from builder.store import dependency_layers
from cowfs import __version__

DESCRIPTION = """\
Builds Debian packages in throw-away copy-on-write sessions over a clean base.

  cowbuild build hello_2.10-3.dsc             build over a base of the machine's suite, made when it is missing
  cowbuild build                              the same for the source tree that one is in
  cowbuild build hello                        the same for a package of the archive
  cowbuild create sid --suite sid             make a base and give it a name; a path with a slash keeps it there
  cowbuild build x.dsc y.dsc --base sid       build both over it
"""

BUILD_USAGE = "cowbuild build [OPTIONS] [PACKAGE...]"

BUILD_DESCRIPTION = """\
Build a source package in a session over a base. Exit codes as sbuild's: 0 successful or skipped, 1 failed, 2 attempted
(the package's build failed) or asked for what makes no sense, 3 given back (the package is not to blame).
"""

CONFIG = """\
Show every option that can be configured, with what holds and where it was said, in the form of a configuration file.
"""

HOOKS_DESCRIPTION = """\
Shell commands, each option as often as wanted. Escapes: %d the .dsc, %c the .changes, %a the architecture, %b the
directory of the build, %p the package's in it, %s an interactive shell, %% a percent sign.
"""

TESTS_DESCRIPTION = """\
Each in a session of its own. What it says goes into the log, and fails the build where its success is required.
"""

# The type of add_subparsers' result, for which argparse has no public name.
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

YES_OR_NO = argparse.BooleanOptionalAction


# mmdebstrap's.
VARIANTS = (
    *("extract", "custom", "essential", "apt", "required", "minbase", "buildd", "important", "debootstrap", "-"),
    "standard",
)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What the command line says, over what the configuration says.

    `configured` in it are the words that tell the latter to another cowbuild. Exits with a usage message where the
    command line makes no sense; Problem where a file does not.
    """
    asked = parser()
    told: str | None = _parse(asked, words).configuration
    settings = configuration.read(asked) if told is None else configuration.from_text(told, asked)
    if told is None:
        values.check_settings(settings)
    configuration.apply(settings, asked)
    arguments = _parse(asked, words)
    values.check_arguments(arguments, configuration.parser_of(asked, arguments.verb))
    arguments.settings = settings
    arguments.configured = ["--configuration", configuration.as_text(settings)]
    return arguments


def _parse(asked: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    arguments, left = asked.parse_known_args(_joined(words))
    # argparse takes positional words that stand together; packages may also stand between the options.
    if left and arguments.verb == "build" and not any(word.startswith("-") for word in left):
        arguments.packages = [*arguments.packages, *left]
    elif left:
        before_verb = list(words[: words.index(arguments.verb)])
        verb = asked if left[0] in before_verb else configuration.parser_of(asked, arguments.verb)
        verb.error(f"unrecognized arguments: {' '.join(left)}")
    return arguments


def _joined(words: Sequence[str]) -> list[str]:
    """Options for other programs with their values, which argparse takes for options of ours unless after a "="."""
    joined: list[str] = []
    for word in words:
        if joined and re.fullmatch(r"--[a-z-]+opts?", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="cowbuild", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"cowbuild {__version__}")
    # Given by supervisor.py, not by people.
    top.add_argument("--session", type=Path, action="append", help=argparse.SUPPRESS)
    top.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)
    # Why root works in no user namespace, though it should.
    top.add_argument("--namespace-refused", metavar="REASON", default="", help=argparse.SUPPRESS)
    # Given by side_by_side.py: which of several packages this one is to build.
    top.add_argument("--only", type=int, help=argparse.SUPPRESS)
    # Given by cowbuild to itself: what the configuration files said.
    top.add_argument("--configuration", metavar="JSON", help=argparse.SUPPRESS)
    top.add_argument("--user-namespace", action=YES_OR_NO, default=True, help="root may do without")
    verbs = top.add_subparsers(metavar="VERB", dest="verb", required=True)
    build = verbs.add_parser("build", usage=BUILD_USAGE, help="build a source package", description=BUILD_DESCRIPTION)
    _add_build(build)
    _add_create(verbs.add_parser("create", help="make a base", description="Make a base with mmdebstrap."))
    _add_base_verbs(verbs)
    _add_session_verbs(verbs)
    _add_cache(verbs.add_parser("cache", help="list or prune the dependencies kept between builds"))
    pbuilder = verbs.add_parser("pbuilder", help="Debian's pbuilder in a session over a base")
    pbuilder.add_argument("base", metavar="BASE")
    pbuilder.add_argument("words", metavar="VERB [OPTIONS]", nargs=argparse.REMAINDER, help="as pbuilder has them")
    _add_schroot_config(verbs.add_parser("schroot-config", help="make a base a chroot of schroot and sbuild"))
    _add_configuration(verbs.add_parser("config", help="show what is configured, and where", description=CONFIG))
    _add_completion(verbs.add_parser("completion", help="print what a shell needs to complete words of a command"))
    return top


def _add_create(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("target", metavar="BASE", help="a name, or the directory to make")
    verb.add_argument("--suite", "-d", "--dist", help="the Debian release; default: the machine's")
    verb.add_argument("--arch", metavar="A", help="its architecture; default: the machine's")
    verb.add_argument("--variant", metavar="V", choices=VARIANTS, default="buildd", help="default: buildd")
    verb.add_argument("--include", metavar="P,P", type=comma_list, default=(), help="packages to have in it")
    verb.add_argument("--components", metavar="C,C", type=comma_list, default=("main",), help="default: main")
    verb.add_argument("--mirror", metavar="URI", help="default: as the machine's apt is set up")
    verb.add_argument("--keyring", metavar="FILE", type=path, default=apt.KEYRING, help="default: Debian's")


def _add_base_verbs(verbs: Verbs) -> None:
    verbs.add_parser("list", help="list the bases that have a name")
    update = verbs.add_parser("update", help="upgrade a base", description="Builds on the old state go on undisturbed.")
    update.add_argument("base", metavar="BASE")
    remove = verbs.add_parser("remove", help="remove a base")
    remove.add_argument("base", metavar="BASE")
    shell = verbs.add_parser("shell", aliases=["login"], help="a shell in a session over a base")
    shell.set_defaults(words=["/bin/bash", "-l"])
    run = verbs.add_parser("run", aliases=["execute"], help="a command in a session over a base")
    for verb in (shell, run):
        verb.add_argument("base", metavar="BASE")
        verb.add_argument(
            "--save", "--save-after-login", action=YES_OR_NO, default=False, help="keep the result as the base"
        )
        verb.add_argument("--as-builder", action=YES_OR_NO, default=False, help="as the user who builds, not as root")
        verb.add_argument("--enable-network", action=YES_OR_NO, default=True)
    run.add_argument("words", metavar="COMMAND", nargs="+", help="after --, where it has options of its own")


def _add_session_verbs(verbs: Verbs) -> None:
    verbs.add_parser("sessions", help="list the kept sessions")
    # argparse would take the command to be absent where an option stands between it and the session.
    usage = "cowbuild {} [--as-builder] SESSION [COMMAND...]"
    enter = verbs.add_parser("enter", usage=usage.format("enter"), help="a shell, or a command, in a kept session")
    fork = verbs.add_parser("fork", usage=usage.format("fork"), help="the same in a throw-away session on top of it")
    for verb in (enter, fork):
        verb.add_argument("session_name", metavar="SESSION")
        verb.add_argument("--as-builder", action=YES_OR_NO, default=False, help="as the user who builds, not as root")
        verb.add_argument("words", metavar="COMMAND", nargs="*", default=["/bin/bash", "-l"], help="default: a shell")
    discard = verbs.add_parser("discard", help="throw a kept session away")
    discard.add_argument("session_name", metavar="SESSION")


def _add_cache(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("what", choices=["list", "prune"])
    verb.add_argument("--size", metavar="MIB", type=int, default=0, help="prune: what may stay; default: nothing")


def _add_schroot_config(verb: argparse.ArgumentParser) -> None:
    verb.description = "Print the entry that makes a base a chroot of schroot, and so of sbuild; see docs/schroot.md."
    verb.add_argument("base", metavar="BASE")
    verb.add_argument("--name", help="the chroot's; default: the base's, SUITE-ARCH for a directory")
    verb.add_argument("--quota", metavar="SIZE[,INODES]", help="limit of what a session may write")
    verb.add_argument("--install", action="store_true", help="write it, and the profile it needs, below /etc/schroot")


def _add_completion(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("shell", choices=["bash", "zsh"])
    verb.add_argument("command", nargs="?", choices=["cowbuild", "cowfs"], default="cowbuild", help="default: cowbuild")


def _add_configuration(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="for programs")


def _add_build(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "packages",
        metavar="PACKAGE",
        nargs="*",
        default=["."],
        help="a .dsc, a source tree, NAME or NAME_VERSION; default: .",
    )
    verb.add_argument("--base", "-c", "--chroot", metavar="BASE", help="a name or a directory; default: SUITE-ARCH")
    verb.add_argument("--dist", "-d", metavar="SUITE", help="without --base; default: the machine's suite")
    verb.add_argument("--arch", "--build", metavar="A", help="the base's architecture; default: the machine's")
    verb.add_argument("--host", metavar="A", help="cross build for this architecture")
    verb.add_argument("--output", "--build-dir", metavar="DIR", help="default: here; a tree's parent")
    verb.add_argument("--parallel", metavar="N", type=int, default=1, help="of several packages so many at a time")
    verb.add_argument("--log", action=YES_OR_NO, default=True, help="a log file beside the artifacts")
    verb.add_argument("--nolog", "-n", action="store_false", dest="log", default=True, help="as --no-log")
    verb.add_argument("--quiet", "-q", action=YES_OR_NO, default=False, help="the log file only, not the terminal")
    verb.add_argument("--verbose", "-v", action=YES_OR_NO, default=False, help="show the script that makes the sandbox")
    _add_what(verb.add_argument_group("what is built"))
    _add_dependencies(verb.add_argument_group("what it is built with"))
    _add_how(verb.add_argument_group("how it is built"))
    _add_tests(verb.add_argument_group("what looks at the packages", TESTS_DESCRIPTION))
    _add_rebuild(verb.add_argument_group("under another version"))
    _add_hooks(verb.add_argument_group("commands of your own", HOOKS_DESCRIPTION))


def _add_what(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--arch-all", "-A", action=YES_OR_NO, help="architecture-independent packages; not with --host")
    group.add_argument("--arch-any", action=YES_OR_NO, default=True, help="architecture-dependent packages")
    group.add_argument("--source", "-s", action=YES_OR_NO, default=False, help="the source package, too")
    group.add_argument("--dpkg-source-opt", metavar="OPTION", action="append", default=[], help="for a source tree")
    group.add_argument("--dpkg-source-opts", metavar="OPTIONS", type=str.split, default=[])


def _add_dependencies(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--add-depends", metavar="RELATION", action="append", default=[])
    group.add_argument("--add-conflicts", metavar="RELATION", action="append", default=[])
    group.add_argument("--resolve-alternatives", action=YES_OR_NO, default=False, help="not only the first of a | b")
    group.add_argument("--extra-package", metavar="DEB", type=path, action="append", default=[], help="or a directory")
    group.add_argument("--extra-repository", metavar="LINE", action="append", default=[], help="as in sources.list")
    group.add_argument("--extra-repository-key", metavar="FILE", type=path, action="append", default=[])
    group.add_argument("--apt-update", action=YES_OR_NO, help="default: yes, but not when dependencies are kept")
    group.add_argument("--deps-cache", action=YES_OR_NO, default=True, help="keep installed dependencies for later")
    group.add_argument(
        "--deps-cache-age",
        metavar="SECONDS",
        type=float,
        default=dependency_layers.DEFAULT_AGE,
        help=f"how long they are taken to be what apt would install; default: {dependency_layers.DEFAULT_AGE:.0f}",
    )
    group.add_argument(
        "--deps-cache-size",
        metavar="MIB",
        type=int,
        default=dependency_layers.DEFAULT_LIMIT // 1024**2,
        help="for all together",
    )
    group.add_argument("--apt-upgrade", "--apt-distupgrade", action=YES_OR_NO, default=False)


def _add_how(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--profiles", metavar="P,P", type=comma_list, help="build profiles; --host: cross,nocheck")
    group.add_argument("--jobs", "-j", metavar="N", type=int, default=os.cpu_count() or 1, help="default: all CPUs")
    group.add_argument("--debbuildopt", metavar="OPTION", action="append", default=[], help="for dpkg-buildpackage")
    group.add_argument("--debbuildopts", metavar="OPTIONS", type=str.split, default=[], help="separated by blanks")
    group.add_argument("--build-path", metavar="DIR", default=PLACE, help=f"in the session; default: {PLACE}")
    group.add_argument("--uploader", "-e", metavar="NAME", help="the .changes' Changed-By")
    group.add_argument("--enable-network", action=YES_OR_NO, default=False, help="during the build, too")
    group.add_argument("--time-limit", metavar="SECONDS", type=float, help="for the build stage")
    group.add_argument("--silence-limit", metavar="SECONDS", type=float, help="for the build stage to say nothing")
    group.add_argument("--purge-session", choices=PURGE, default="always", help="else it is kept: cowbuild sessions")
    group.add_argument("--trace", action="store_true", help="report which dependencies were used, and what else")
    group.add_argument("--twice", action="store_true", help="build again under other conditions, and compare")


def _add_tests(group: argparse._ArgumentGroup) -> None:
    for program in TESTERS:
        group.add_argument(f"--run-{program}", action=YES_OR_NO, default=False)
        group.add_argument(f"--{program}-opt", metavar="OPTION", action="append", default=[])
        group.add_argument(f"--{program}-opts", metavar="OPTIONS", type=str.split, default=[])
        group.add_argument(f"--{program}-require-success", action=YES_OR_NO, default=False)


def _add_rebuild(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--make-binNMU", metavar="TEXT", help="what the changelog says; the number is 1 unless given")
    group.add_argument("--binNMU", metavar="N", type=int)
    group.add_argument("--append-to-version", metavar="SUFFIX", default="")
    group.add_argument("--binNMU-timestamp", metavar="TIME", help="seconds since 1970, or as in a changelog")
    group.add_argument("--maintainer", "-m", metavar="NAME", help="who answers for it")


def _add_hooks(group: argparse._ArgumentGroup) -> None:
    for point in hooks.POINTS:
        where = "outside" if point in hooks.OUTSIDE else "inside, as root"
        group.add_argument(f"--{point}-commands", metavar="COMMAND", action="append", default=[], help=where)
    group.add_argument("--anything-failed-commands", metavar="COMMAND", action="append", default=[])


def path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must be a path, not nothing")
    try:
        return Path(os.path.abspath(os.path.expanduser(text)))
    except FileNotFoundError:
        raise argparse.ArgumentTypeError("must be an absolute path: the current directory is gone") from None


def comma_list(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.replace(",", " ").split() if part)
