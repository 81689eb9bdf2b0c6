"""What can be said to `cowbuild`: its verbs and options, sbuild's names where sbuild has them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from builder.command.arguments import HALF_OF_MEMORY, YES_OR_NO, VerbParser
from builder.command.verbs import VERBS
from cowfs import __version__

DESCRIPTION = """\
Builds Debian packages in throw-away copy-on-write sessions over a clean base.

  cowbuild build hello_2.10-3.dsc             build over a base of the machine's suite, made when it is missing
  cowbuild build                              the same for the source tree that one is in
  cowbuild build hello                        the same for a package of the archive
  cowbuild create sid --suite sid             make a base and give it a name; a path with a slash keeps it there
  cowbuild build x.dsc y.dsc --base sid       build both over it
"""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What the command line says, over what the configuration says.

    `configured` in it are the words that tell the latter to another cowbuild. Exits with a usage message where the
    command line makes no sense; Problem where a file does not.
    """
    asked = parser()
    told: str | None = _parse(asked, words).configuration
    # Whoever asked for help has gone.
    import json

    from builder.command import configuration, values

    settings = configuration.read(asked) if told is None else configuration.from_text(told, asked)
    if told is None:
        values.check_settings(settings)
    configuration.apply(settings, asked)
    arguments = _parse(asked, words)
    values.check_arguments(arguments, configuration.parser_of(asked, arguments.verb))
    for name, value in json.loads(arguments.settled).items():
        setattr(arguments, name, value)
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
        from builder.command import configuration

        verb = asked if left[0] in before_verb else configuration.parser_of(asked, arguments.verb)
        verb.error(f"unrecognized arguments: {' '.join(left)}")
    return arguments


def _joined(words: Sequence[str]) -> list[str]:
    """Options for other programs with their values, which argparse takes for options of ours unless after a "="."""
    if next((word for word in words if any(word in verb.names for verb in VERBS)), "") != "build":
        return list(words)  # where they may be a command's own
    joined: list[str] = []
    for word in words:
        if joined and re.fullmatch(r"--[a-z-]+opts?", joined[-1]):
            joined[-1] += f"={word}"
        elif word == "--build-in-memory" and "--" not in joined:
            joined.append(f"{word}={HALF_OF_MEMORY}")  # what comes next is a package
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
    # Given by the outside of a verb to its inside: arguments as they were settled there.
    top.add_argument("--settled", metavar="JSON", default="{}", help=argparse.SUPPRESS)
    # Given by several.py: which of several packages this one is to build.
    top.add_argument("--only", type=int, help=argparse.SUPPRESS)
    # Given by archive_verbs.py: where the lists are that it has fetched for all of its builds.
    top.add_argument("--archive-lists", type=Path, help=argparse.SUPPRESS)
    # Given by cowbuild to itself: what the configuration files said.
    top.add_argument("--configuration", metavar="JSON", help=argparse.SUPPRESS)
    top.add_argument("--user-namespace", action=YES_OR_NO, default=True, help="root may do without")
    verbs = top.add_subparsers(metavar="VERB", dest="verb", required=True, parser_class=VerbParser)
    for verb in VERBS:
        name, *others = verb.names
        verbs.add_parser(
            name,
            aliases=others,
            help=verb.help,
            usage=verb.usage,
            description=verb.description,
            add=verb.add_arguments,
        )
    return top
