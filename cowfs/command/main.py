"""The command `cowfs`: which verb is meant, and how what goes wrong is said, in one sentence.

Without a verb it mounts: mount_options.py has what can be said of that, mounting.py does it. The other verbs, with
their parsers, are in verbs.py; `parsers` has those of all.
"""

from __future__ import annotations

import argparse
import io
import signal
import sys

from cowfs import endings
from cowfs.command import mount_options
from cowfs.command.verbs import VERBS, parser_of


def main(arguments: list[str] | None = None, *, staged: bool = True) -> int:
    """Run the command; the exit code. 1: it could not be done, 2: the command line makes no sense.

    `staged`: as in MountRequest.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or nobody learns how a program ended, wait(2)
    return endings.run("cowfs", lambda: _main(words, staged=staged))


def _main(arguments: list[str], *, staged: bool) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # names of files are bytes
    verb = VERBS.get(arguments[0]) if arguments else None
    try:
        if verb is None:
            return _mount(arguments, staged=staged)
        return verb.run(parser_of(arguments[0]).parse_args(arguments[1:]))
    except mount_options.UsageError as error:
        print(f"cowfs: {error}\nTry: cowfs --help", file=sys.stderr)
        return 2
    except Exception as error:
        # Only now: most that is asked ends well, and without what mounting takes.
        from cowfs.command import mounting

        if not isinstance(error, mounting.SAID):
            raise
        print(f"cowfs: {mounting.said(error)}", file=sys.stderr)
        return 1


def _mount(arguments: list[str], *, staged: bool) -> int:
    parsed = mount_options.parser().parse_args(arguments)
    # trio, the engines and the union take longer to load than help takes to read.
    from cowfs.command import mounting

    return mounting.mount(parsed, staged=staged)


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each verb by its name, and that of mounting, which has none, as ""."""
    return {"": mount_options.parser(), **{name: parser_of(name) for name in VERBS}}


if __name__ == "__main__":
    sys.exit(main())
