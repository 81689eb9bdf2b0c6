"""The command `cowbuild`: which half of which verb this process is, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from builder.command import options
from builder.command.verb import Inside, Outside
from builder.command.verbs import verb_named
from builder.problems import Interrupted, Problem, tell
from cowfs import endings


def main() -> int:
    """Run the command; the exit code. 1: it could not be done, 2: what was asked for makes no sense."""
    return as_command("cowbuild", sys.argv[1:])


def as_command(name: str, words: Sequence[str], *, misuse: int | None = None) -> int:
    """Do what a command line says, and say under this name what is wrong; the exit code, `misuse` for that."""
    return endings.run(name, lambda: _run(name, words, misuse))


def _run(name: str, words: Sequence[str], misuse: int | None) -> int:
    # Where chroot and ip are; a plain user's search path lacks it.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        return run(words)
    except Problem as problem:
        tell(name, problem)
        return problem.exit_code if misuse is None else misuse
    except Interrupted as interrupted:
        return 128 + interrupted.signal_number


def run(words: Sequence[str]) -> int:
    """Do what a command line says; its exit code. Problem, Interrupted."""
    arguments = options.parse(words)
    verb = verb_named(arguments.verb)
    if arguments.session is not None:
        assert verb.inside is not None, "only a verb with such a half asks for it"
        from builder import user_namespace
        from builder.session import supervisor

        supervisor.obey(arguments.lifeline)
        if arguments.namespace_refused and not verb.quiet_inside:
            print(f"cowbuild: {user_namespace.without_namespace(arguments.namespace_refused)}", file=sys.stderr)
        return verb.inside(arguments, Inside(tuple(arguments.session)))
    if not verb.for_programs:
        from builder import private
        from builder.store import bases, build_trees, dependency_layers, kept_sessions

        named = bases.bases_directory()
        places = [named, *named.glob("*/"), dependency_layers.where(), kept_sessions.sessions_directory()]
        places.append(build_trees.where())
        private.close(places)
    configured: list[str] = arguments.configured
    outside = Outside(
        words=words if arguments.configuration is not None else [*configured, *words],
        parser=options.parser,
        configured=configured,
        parse=lambda others: options.parse([*configured, *others]),
        run=lambda *others: run([*configured, *others]),
        user_namespace=arguments.user_namespace,
    )
    return verb.outside(arguments, outside)


if __name__ == "__main__":
    sys.exit(main())
