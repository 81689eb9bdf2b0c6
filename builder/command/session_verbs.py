"""The verbs about what builds leave: kept sessions and dependency layers."""

from __future__ import annotations

import argparse
import os

from builder.command.arguments import YES_OR_NO, path_of
from builder.command.verb import Inside, Outside
from builder.problems import Misuse

# What a verb needs is imported when it runs: the help shows the names of all, and no other verb is asked for.

# argparse would take the command to be absent where an option stands between it and the session.
USAGE = "cowbuild {} [--as-builder] SESSION [COMMAND...]"


def add_session(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("session_name", metavar="SESSION")


def add_enter(verb: argparse.ArgumentParser) -> None:
    add_session(verb)
    verb.add_argument("--as-builder", action=YES_OR_NO, default=False, help="as the user who builds, not as root")
    verb.add_argument("words", metavar="COMMAND", nargs="*", default=["/bin/bash", "-l"], help="default: a shell")


def add_cache(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("what", choices=["list", "prune"])
    verb.add_argument(
        "--size", metavar="MIB", type=int, default=0, help="prune: what may stay of each kind; default: nothing"
    )


def add_transfer(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("what", choices=["export", "import"])
    verb.add_argument("subject", metavar="SESSION|FILE", help="what is exported, or imported")
    verb.add_argument("--output", metavar="FILE", help="export: what to write; default: SESSION.zip here")
    verb.add_argument("--base", "-c", metavar="BASE", help="import: over this one; default: any that is the same")


def list_sessions(_arguments: argparse.Namespace, _outside: Outside) -> int:
    from builder.log import timestamp
    from builder.store import kept_sessions

    for each in kept_sessions.every():
        print(f"{each.name:48} {timestamp(each.made)}  {each.stage:12} {each.base}")
        for step in each.steps:
            print(f"    {each.name}:{step}")
    return 0


def check_enter(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder import user_namespace
    from builder.store import kept_sessions

    kept_sessions.find(arguments.session_name)
    user_namespace.check_fuse()
    return outside.work_inside()


def enter(arguments: argparse.Namespace, inside: Inside) -> int:
    return _work_in_kept(arguments, inside, changing=True)


def fork(arguments: argparse.Namespace, inside: Inside) -> int:
    return _work_in_kept(arguments, inside, changing=False)


def _work_in_kept(arguments: argparse.Namespace, inside: Inside, *, changing: bool) -> int:
    from builder.session import interactive
    from builder.store import kept_sessions

    kept = kept_sessions.find(arguments.session_name)
    return interactive.enter(
        kept, arguments.words, inside.directory, changing=changing, as_builder=arguments.as_builder
    )


def check_transfer(arguments: argparse.Namespace, outside: Outside) -> int:
    from pathlib import Path

    from builder.store import bases, kept_sessions

    if arguments.what == "export":
        kept = kept_sessions.find(arguments.subject)
        if arguments.base is not None:
            raise Misuse("--base is for import: a session is exported with what is said of its own")
        target = path_of(arguments.output or f"{kept.name}.zip")
        if os.path.lexists(target):
            raise Misuse(f"{target} exists already", "--output FILE")
        return outside.settling(output=str(target)).work_inside()
    if arguments.output is not None:
        raise Misuse("--output is for export: an imported session goes to the others", "cowbuild sessions")
    if not Path(arguments.subject).is_file():
        raise Misuse(f"There is no file {arguments.subject}")
    if arguments.base is not None:
        bases.find(arguments.base)
    return outside.work_inside(kept_sessions.make_sessions_directory())


def transfer(arguments: argparse.Namespace, inside: Inside) -> int:
    from pathlib import Path

    from builder.session import transfer as transferring
    from builder.store import kept_sessions

    if arguments.what == "export":
        transferring.write(kept_sessions.find(arguments.subject), Path(arguments.output))
        print(f"cowbuild: the session {arguments.subject} is in {arguments.output}")
        return 0
    name = transferring.read(Path(arguments.subject).absolute(), arguments.base, inside.directory)
    print(f"cowbuild: imported: cowbuild enter {name}; cowbuild fork {name}; cowbuild discard {name}")
    return 0


def check_discard(arguments: argparse.Namespace, outside: Outside) -> int:
    from builder.session import held
    from builder.store import kept_sessions

    held.end(kept_sessions.find(arguments.session_name))
    return outside.work_inside()


def discard(arguments: argparse.Namespace, _inside: Inside) -> int:
    from builder.store import kept_sessions

    kept_sessions.discard(arguments.session_name)
    return 0


def list_cache(arguments: argparse.Namespace, outside: Outside) -> int:
    if arguments.what == "prune":
        return outside.work_inside()
    from builder.store import build_trees, compiler_caches, dependency_layers, downloads

    print("\n".join(dependency_layers.summary(dependency_layers.all_layers())))
    for line in build_trees.summary(build_trees.every()):
        print(line)
    if packages := downloads.every():
        print(downloads.summary(packages))
    for each in compiler_caches.every():
        print(compiler_caches.summary(each))
    return 0


def prune_cache(arguments: argparse.Namespace, _inside: Inside) -> int:
    from builder.store import build_trees, compiler_caches, dependency_layers, downloads, fetched_files

    for line in build_trees.summary(build_trees.prune(arguments.size * 1024**2)):
        print(f"removed {line}")
    for line in dependency_layers.summary(dependency_layers.prune(arguments.size * 1024**2)):
        print(f"removed {line}")
    if packages := downloads.prune(arguments.size * 1024**2):
        print(f"removed {downloads.summary(packages)}")
    for each in compiler_caches.prune(arguments.size * 1024**2):
        print(f"removed {compiler_caches.summary(each)}")
    fetched_files.prune()
    return 0
