"""Working in a base and on it: a shell or a command in a session, and the session's result as the new base."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from builder import hostile_tree
from builder.debian import apt_proxy
from builder.log import BuildLog
from builder.problems import Problem
from builder.session import own_directories
from builder.session.sandbox import ROOT
from builder.session.session import Session, mounted, opened
from builder.store import bases, dependency_layers
from builder.store.kept_sessions import KeptSession

# By itself apt takes old lists where it cannot have new ones, and calls that a success.
ALL_LISTS = ("-o", "APT::Update::Error-Mode=any")


def update(name: str, directory: Path, proxy: str | None = None) -> int:
    """Upgrade a base's packages in a session, and put the result in the base's place.

    Where that changes nothing the base stays, and its layers with it. Problem, and the base stays, when it fails.
    `proxy`: as `apt_proxy.find` has it.
    """
    log = BuildLog()
    with bases.base_in_use(name) as tree, opened(tree, directory, log) as session:
        found = apt_proxy.find(proxy, log.line)
        session.find_proxy = lambda: found
        try:
            session.apt_get(*ALL_LISTS, "update")
            session.apt_get("--autoremove", "dist-upgrade")
        except Problem as problem:
            hint = "What apt says of it is above: are the base's archives within reach?"
            raise Problem(f"The base {name} cannot be updated, and is as it was: {problem}", hint) from problem
        if _packages_of(session.root) == _packages_of(tree):
            log.line(f"cowbuild: nothing to update: the base {name} is as its archives have it")
            return 0
        made = _copied(session, directory)
    replace(name, made)
    log.line(f"cowbuild: the base {name} is up to date")
    return 0


def _packages_of(root: Path) -> dict[str, str]:
    """What the files hold that say what is installed in a root, and what could be.

    Not those that say when that was asked last: a Release file is signed anew while the archive stays the same.
    """
    found = {}
    for place in ("var/lib/dpkg", "var/lib/apt/lists"):
        with suppress(OSError), hostile_tree.directory(root, place) as opened_place:
            for name in hostile_tree.names(opened_place):
                if name == "status" or "_Packages" in name or "_Sources" in name:
                    try:
                        found[f"{place}/{name}"] = os.readlink(name, dir_fd=opened_place)  # to a list in the root
                    except OSError:
                        found[f"{place}/{name}"] = hostile_tree.checksum(opened_place, name)
    return found


def replace(name: str, tree: Path) -> None:
    """Make `tree` the base of that name, or at that path; the old one's dependency layers are worth nothing."""
    if bases.is_path(name):
        bases.publish_at(bases.find(name), tree)
    else:
        bases.publish(name, tree)
    dependency_layers.remove_stale()


def remove(name: str) -> None:
    """Remove a base and its dependency layers. Problem when there is none, or when a session uses it."""
    try:
        bases.remove(name)
    finally:
        dependency_layers.remove_stale()


def work_in(
    name: str,
    command: Sequence[str],
    directory: Path,
    *,
    save: bool,
    as_builder: bool,
    network: bool,
    in_union: Collection[str] = (),
) -> int:
    """Run a command on the terminal, in a session over a base; its exit code.

    Its /tmp is a plain directory unless `tmp` is `in_union`.
    With `save` the session becomes the base where the command ended with 0. Problem when it cannot be had.
    """
    log = BuildLog()
    made = None
    with bases.base_in_use(name) as tree, opened(tree, directory, log) as session:
        if "tmp" not in in_union:
            own_directories.add(session.root, session.own, own_directories.TEMPORARY)
        code = session.interactive(command, identity=session.builder if as_builder else ROOT, network=network)
        if save and code == 0:
            made = _copied(session, directory)
    if made is not None:
        replace(name, made)
        log.line(f"cowbuild: saved as the base {name}")
    elif save:
        log.line(f"cowbuild: not saved, since the exit code was {code}")
    return code


def enter(kept: KeptSession, command: Sequence[str], directory: Path, *, changing: bool, as_builder: bool) -> int:
    """Run a command on the terminal in a kept session, where its build was; its exit code.

    Not `changing` it, but a session on top of it, which is thrown away.
    """
    own = own_directories.kept(kept.own, os.path.dirname(kept.build_directory))
    # A state of a session has a layer from when it is first entered.
    written = [kept.layer] if kept.layer.exists() and not changing else []
    layers = [*written, *kept.below]
    writing = kept.layer if changing else None
    with (
        # Its end must be that of the root, into which it is bound.
        nullcontext(kept.own) if changing or not own else _covered(kept.own, directory) as theirs,
        opened(Path(kept.base), directory, BuildLog(), layers, writing=writing) as session,
    ):
        own_directories.bind_again(session.root, theirs, own)
        identity = session.builder if as_builder else ROOT
        return session.interactive(command, identity=identity, network=True, directory=kept.build_directory)


@contextmanager
def _covered(own: Path, directory: Path) -> Iterator[Path]:
    """The own directories of a kept session, copy-on-write. Problem.

    Not as a layer of the session's root: a build wrote there what it liked, and of a lowest base no mark is believed.
    """
    place = directory / "covered"
    place.mkdir()
    with mounted([own], place) as mount:
        yield mount.root


def _copied(session: Session, directory: Path) -> Path:
    session.undo_prepare()
    return copied(session.root, directory)


def copied(root: Path, directory: Path, *options: str) -> Path:
    """A copy of a session as a base, to be published when the session and its hold on the old base have ended.

    `options` are cp's.
    """
    made = directory / "base"
    # The mount's view, whole, with owners, links, holes and extended attributes; blocks are shared where that can be.
    copied = subprocess.run(
        ["cp", "-a", *options, "--reflink=auto", "--sparse=auto", root, made],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if copied.returncode != 0:
        raise Problem("The session cannot be saved", copied.stderr.strip())
    return made
