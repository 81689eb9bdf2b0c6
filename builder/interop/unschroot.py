"""The program schroot, as sbuild calls it, on sessions of cowbuild: `cowbuild-schroot`. It needs no right of root's.

A chroot is a base that has a name. A session begun is a kept session (store/kept_sessions.py) with a process that holds
it open, so that a command in it starts at once; and so it is there until it is ended, whoever began it.
"""

from __future__ import annotations

import argparse
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from builder.interrupts import uninterrupted
from builder.problems import Interrupted, Misuse, Problem, tell
from builder.session import held, reading
from builder.session.sandbox import ROOT, Identity, Sandbox
from builder.session.supervisor import COWBUILD, interruptible
from builder.store import kept_sessions
from builder.store.kept_sessions import KeptSession
from cowfs import endings

# What only some calls need is imported there: sbuild runs a hundred commands in a build, each by such a call.

PROGRAM = "cowbuild-schroot"

STAGE = "schroot"
"""Of its sessions in the list of kept ones."""

IN_DIRECTORY = ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh")

ROOT_NAME = "root"
NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)
ABOVE_SESSION = 2
"""The place for a user's state, as one of the parents of a session's directory."""

LIMIT = 1024 * 1024
"""Bytes of /etc/passwd."""


def parser() -> argparse.ArgumentParser:
    known = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [-c NAME] [ACTION] [OPTION...] [-- COMMAND...]",
        description="Called by sbuild in place of schroot; see docs/schroot.md. Without ACTION a session is begun, the "
        "command run in it, and the session ended.",
    )
    actions = known.add_mutually_exclusive_group()
    for short, name, text in (
        ("-b", "begin-session", "begin a session over a base; print its name"),
        ("-r", "run-session", "run a command in a session"),
        ("-e", "end-session", "end a session; nothing of it stays"),
        (None, "recover-session", "open a session again whose processes were killed"),
        ("-l", "list", "list the bases and, with --all or --all-sessions, the sessions"),
        ("-i", "info", "tell of a base or a session, or of all"),
        (None, "location", "print the directory of a base or a session"),
    ):
        actions.add_argument(
            *filter(None, (short, f"--{name}")), dest="action", action="store_const", const=name, help=text
        )
    known.add_argument("-c", "--chroot", metavar="NAME", help="a base, by its name; or a session")
    known.add_argument("-a", "--all", action="store_true", help="bases and sessions")
    known.add_argument("--all-sessions", action="store_true", help="sessions only")
    known.add_argument("-d", "--directory", metavar="DIR", default="/", help="where to run the command; default: /")
    known.add_argument("-u", "--user", metavar="NAME", help="who runs it, as /etc/passwd in the session has it")
    known.add_argument("-p", "--preserve-environment", action="store_true", help="with the caller's environment")
    known.add_argument("--enable-network", action="store_true", help="for users, too; root has it always")
    known.add_argument("-q", "--quiet", action="store_true", help="without effect: nothing is said anyway")
    known.add_argument("words", metavar="COMMAND", nargs="*", help="default: a shell")
    return known


def run(words: Sequence[str]) -> int:
    """Do what schroot would; the exit code. Problem."""
    arguments = parser().parse_args(words, argparse.Namespace(environment=dict(os.environ)))
    action = arguments.action
    if action in ("list", "info"):
        return _tell(arguments)
    if not arguments.chroot:
        raise Misuse("Which chroot?", f"{PROGRAM} --chroot NAME; {PROGRAM} --list")
    if action == "begin-session":
        with interruptible():
            kept = begin(arguments.chroot)
        print(_called(kept))
    elif action == "run-session":
        _become(_command(_session(arguments.chroot), arguments))
    elif action == "end-session":
        end(_session(arguments.chroot))
    elif action == "recover-session":
        held.holder_of(_session(arguments.chroot))
    elif action == "location":
        print(_location(arguments.chroot))
    else:
        with interruptible():
            kept = begin(arguments.chroot)
            try:
                return subprocess.run(_command(kept, arguments), check=False).returncode
            finally:
                end(kept)
    return 0


def begin(chroot: str) -> KeptSession:
    """A new session, open. Problem where it cannot be had."""
    from builder import user_namespace
    from builder.debian import base_facts
    from builder.store import bases

    user_namespace.check_fuse()
    name = _base_named(chroot)
    with bases.base_in_use(name) as tree:
        base_facts.architecture(tree)
        base_facts.check_ours(tree)
        kept: KeptSession | None = None
        try:
            with uninterrupted():
                kept = kept_sessions.begin(tree, stem=name, stage=STAGE)
            held.holder_of(kept)
        except BaseException:
            if kept is not None:
                end(kept)
            raise
    return kept


def end(kept: KeptSession) -> None:
    """End a session, and remove what was written in it, which only inside belongs to its user. Problem."""
    done = subprocess.run([*COWBUILD, "discard", kept.name], stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise Problem(f"The session {kept.name} cannot be removed", f"cowbuild discard {kept.name}")


def _base_named(chroot: str) -> str:
    """The base that is meant by the name of a chroot. Misuse where there is none."""
    from builder.store import bases

    namespace, _, name = chroot.rpartition(":")
    if namespace == "source":
        raise Misuse(
            f"A base is not changed where it is: {chroot}", f"cowbuild update {name}; cowbuild shell {name} --save"
        )
    if namespace not in ("", "chroot"):
        raise Misuse(f"There is no chroot {chroot}", f"{PROGRAM} --list")
    if name not in bases.names():
        bases.find(name if "/" not in name else "")  # says which there are
    return name


def _session(chroot: str) -> KeptSession:
    """The session of that name, or at that path. Misuse where there is none."""
    name = chroot.removeprefix("session:")
    if "/" in name:
        path = Path(name).absolute()
        if len(path.parents) <= ABOVE_SESSION:
            raise Misuse(f"There is no session {chroot}", f"{PROGRAM} --list --all-sessions")
        os.environ["XDG_STATE_HOME"] = str(path.parents[ABOVE_SESSION])
        name = path.name
    elif not (kept_sessions.sessions_directory() / name).exists():
        _forget_places()
    return kept_sessions.find(name)


def _forget_places() -> None:
    """From here on the user's places are where they are when the environment says nothing."""
    os.environ.pop("XDG_STATE_HOME", None)
    os.environ["HOME"] = pwd.getpwuid(os.getuid()).pw_dir


def _called(kept: KeptSession) -> str:
    """What the caller is to call a session: its name, or its path where only this environment says that it is there.

    sbuild runs commands in it with another environment.
    """
    directory = kept.directory
    _forget_places()
    return kept.name if kept.directory == directory else str(directory)


def _is_session(chroot: str) -> bool:
    return chroot.startswith("session:") or "/" in chroot or any(each.name == chroot for each in _sessions())


def _sessions() -> list[KeptSession]:
    return [each for each in kept_sessions.every() if each.stage == STAGE]


def _command(kept: KeptSession, arguments: argparse.Namespace) -> list[str]:
    """What runs the command in a session. Problem."""
    holder = held.holder_of(kept)
    environment = arguments.environment if arguments.preserve_environment else _usual_environment()
    sandbox = Sandbox(Path(kept.base), started_with=holder.personality, environment=environment)
    user = arguments.user or pwd.getpwuid(os.getuid()).pw_name
    identity = _identity(holder.process, user)
    before = sandbox.beside(holder.process, identity, network=user == ROOT_NAME or arguments.enable_network)
    return [*before, *IN_DIRECTORY, arguments.directory, *(arguments.words or ["/bin/sh", "-l"])]


def _usual_environment() -> dict[str, str]:
    from builder.session.surroundings import VARIABLES

    return {**VARIABLES, "HOME": "/"}


def _identity(process: int, user: str) -> Identity:
    """Who a user is in a session, whose files anybody may have written. Problem where there is no such user."""
    if user == ROOT_NAME:
        return ROOT
    try:
        known = reading.read(process, "etc/passwd", LIMIT).decode(errors="surrogateescape")
    except OSError as error:
        raise Problem(f"/etc/passwd of the session cannot be read: {error.strerror or error}", "--user root") from None
    for name, _password, uid, gid, *_others in (line.split(":") for line in known.splitlines() if line.count(":") >= 3):
        # A package may have made of any user one with root's number, and root has the network.
        if name == user and NUMBER.fullmatch(uid) and NUMBER.fullmatch(gid) and int(uid) != ROOT.uid:
            return Identity(int(uid), int(gid))
    raise Problem(f"There is no user {user} in the session", "--user root, or make one in it: useradd")


def _tell(arguments: argparse.Namespace) -> int:
    from builder.store import bases

    if arguments.action == "list":
        found = [] if arguments.all_sessions else [f"chroot:{name}" for name in bases.names()]
        if arguments.all or arguments.all_sessions:
            found += [f"session:{kept.name}" for kept in _sessions()]
        print("".join(f"{line}\n" for line in found), end="")
        return 0
    if arguments.chroot is None:
        told = [_about_base(name) for name in bases.names()]
    elif _is_session(arguments.chroot):
        told = [_about_session(_session(arguments.chroot))]
    else:
        told = [_about_base(_base_named(arguments.chroot))]
    print("\n".join(told), end="")
    return 0


def _about_base(name: str) -> str:
    from builder.store import bases

    fields = {"Name": name, "Type": "directory", "Priority": "0", "Location": str(bases.find(name))}
    return _as_schroot_tells("Chroot", fields)


def _about_session(kept: KeptSession) -> str:
    # A directory that is there, for sbuild looks; and purged means that sbuild need not clean up.
    fields = {"Name": kept.name, "Type": "directory", "Priority": "0", "Path": str(kept.directory)}
    return _as_schroot_tells("Session", {**fields, "Session Purged": "true"})


def _as_schroot_tells(kind: str, fields: dict[str, str]) -> str:
    return f"  --- {kind} ---\n" + "".join(f"  {name:<30}{text}\n" for name, text in fields.items())


def _location(chroot: str) -> Path:
    if _is_session(chroot):
        return _session(chroot).directory
    from builder.store import bases

    return bases.find(_base_named(chroot))


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    os.execvp(command[0], command)


def main() -> int:
    return endings.run(PROGRAM, _main)


def _main() -> int:
    # sbuild asks for all chroots without any environment.
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        return run(sys.argv[1:])
    except Problem as problem:
        tell("E", problem)
        return problem.exit_code
    except Interrupted as interrupted:
        return 128 + interrupted.signal_number


if __name__ == "__main__":
    sys.exit(main())
