"""Working in a base and on it: a shell or a command in a session, and the session's result as the new base."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from builder.log import BuildLog
from builder.problems import Problem
from builder.session.sandbox import ROOT
from builder.session.session import BUILDER, Session, opened
from builder.store import bases
from builder.store.kept_sessions import KeptSession


def update(name: str, directory: Path) -> int:
    """Upgrade a base's packages in a session, and put the result in the base's place. Problem when that fails."""
    log = BuildLog()
    with bases.base_in_use(name) as tree, opened(tree, directory, log) as session:
        session.apt_get("update")
        session.apt_get("--autoremove", "dist-upgrade")
        made = _copied(session, directory)
    bases.publish(name, made)
    log.line(f"cowbuild: the base {name} is up to date")
    return 0


def work_in(name: str, command: Sequence[str], directory: Path, *, save: bool, as_builder: bool, network: bool) -> int:
    """Run a command on the terminal, in a session over a base; its exit code.

    With `save` the session becomes the base where the command ended with 0. Problem when it cannot be had.
    """
    log = BuildLog()
    made = None
    with bases.base_in_use(name) as tree, opened(tree, directory, log) as session:
        code = session.interactive(command, identity=BUILDER if as_builder else ROOT, network=network)
        if save and code == 0:
            made = _copied(session, directory)
    if made is not None:
        bases.publish(name, made)
        log.line(f"cowbuild: saved as the base {name}")
    elif save:
        log.line(f"cowbuild: not saved, since the exit code was {code}")
    return code


def enter(kept: KeptSession, command: Sequence[str], directory: Path, *, changing: bool, as_builder: bool) -> int:
    """Run a command on the terminal in a kept session, where its build was; its exit code.

    Not `changing` it, but a session on top of it, which is thrown away.
    """
    layers = [] if changing else [kept.layer]
    writing = kept.layer if changing else None
    with opened(Path(kept.base), directory, BuildLog(), layers, writing=writing) as session:
        identity = BUILDER if as_builder else ROOT
        return session.interactive(command, identity=identity, network=True, directory=kept.build_directory)


def _copied(session: Session, directory: Path) -> Path:
    """A copy of the session as a base, to be published when the session and its hold on the old base have ended."""
    session.undo_prepare()
    made = directory / "base"
    # The mount's view, whole, with owners, links, holes and extended attributes; blocks are shared where that can be.
    copied = subprocess.run(
        ["cp", "-a", "--reflink=auto", "--sparse=auto", session.root, made],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if copied.returncode != 0:
        raise Problem("The session cannot be saved", copied.stderr.strip())
    return made
