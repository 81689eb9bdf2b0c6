"""The verbs of `cowbuild`: one row each."""

from __future__ import annotations

from builder.command import (
    archive_verbs,
    base_verbs,
    build_verb,
    history_verbs,
    other_verbs,
    rebuild_verb,
    sbuild_verb,
    session_verbs,
)
from builder.command.verb import Verb, no_arguments

VERBS = (
    Verb(
        ("build",),
        "build a source package",
        build_verb.add_build,
        build_verb.check_build,
        build_verb.build,
        usage=build_verb.USAGE,
        description=build_verb.DESCRIPTION,
        quiet_inside=True,
    ),
    Verb(
        ("rebuild",),
        "build again what a .buildinfo tells of, and compare",
        rebuild_verb.add_rebuild,
        rebuild_verb.check_rebuild,
        rebuild_verb.work_rebuild,
        description=rebuild_verb.DESCRIPTION,
        quiet_inside=True,
    ),
    Verb(
        ("rdeps",),
        "build what build-depends on a package, with new packages and without",
        archive_verbs.add_rdeps,
        archive_verbs.rdeps,
        usage=archive_verbs.RDEPS_USAGE,
        description=archive_verbs.RDEPS_DESCRIPTION,
    ),
    Verb(
        ("rebuild-archive",),
        "build all sources of a suite, or some of them",
        archive_verbs.add_rebuild_archive,
        archive_verbs.rebuild_archive,
        usage=archive_verbs.REBUILD_USAGE,
        description=archive_verbs.REBUILD_DESCRIPTION,
    ),
    Verb(
        ("create",),
        "make a base",
        base_verbs.add_create,
        base_verbs.check_create,
        base_verbs.create,
        description="Make a base with mmdebstrap.",
    ),
    Verb(("list",), "list the bases that have a name", no_arguments, base_verbs.list_bases),
    Verb(
        ("update",),
        "upgrade a base",
        base_verbs.add_update,
        base_verbs.check_update,
        base_verbs.update,
        description="Builds on the old state go on undisturbed.",
    ),
    Verb(
        ("remove",),
        "remove a base",
        base_verbs.add_base,
        base_verbs.check_remove,
        base_verbs.remove,
        quiet_inside=True,
    ),
    Verb(
        ("shell", "login"),
        "a shell in a session over a base",
        base_verbs.add_shell,
        base_verbs.check_work,
        base_verbs.work,
    ),
    Verb(
        ("run", "execute"),
        "a command in a session over a base",
        base_verbs.add_run,
        base_verbs.check_work,
        base_verbs.work,
    ),
    Verb(("sessions",), "list the kept sessions", no_arguments, session_verbs.list_sessions),
    Verb(
        ("enter",),
        "a shell, or a command, in a kept session",
        session_verbs.add_enter,
        session_verbs.check_enter,
        session_verbs.enter,
        usage=session_verbs.USAGE.format("enter"),
    ),
    Verb(
        ("fork",),
        "the same in a throw-away session on top of it",
        session_verbs.add_enter,
        session_verbs.check_enter,
        session_verbs.fork,
        usage=session_verbs.USAGE.format("fork"),
    ),
    Verb(
        ("discard",),
        "throw a kept session away",
        session_verbs.add_session,
        session_verbs.check_discard,
        session_verbs.discard,
        quiet_inside=True,
    ),
    Verb(
        ("session",),
        "a kept session to one file, or from one",
        session_verbs.add_transfer,
        session_verbs.check_transfer,
        session_verbs.transfer,
        description=(
            "Write a kept session to one file, to be imported elsewhere over the same base and entered there. "
            "See docs/building.md."
        ),
        quiet_inside=True,
    ),
    Verb(
        ("history",),
        "list the builds that there were, and how they ended",
        history_verbs.add_history,
        history_verbs.show_history,
    ),
    Verb(
        ("log",),
        "print the log of a build that there was",
        history_verbs.add_log,
        history_verbs.show_log,
    ),
    Verb(
        ("cache",),
        "list or prune what is kept between builds",
        session_verbs.add_cache,
        session_verbs.list_cache,
        session_verbs.prune_cache,
        quiet_inside=True,
    ),
    Verb(
        ("pbuilder",),
        "Debian's pbuilder in a session over a base",
        other_verbs.add_pbuilder,
        other_verbs.check_pbuilder,
        other_verbs.run_pbuilder,
    ),
    Verb(
        ("sbuild",),
        "build by sbuild's own words",
        sbuild_verb.add_sbuild,
        sbuild_verb.check_sbuild,
        sbuild_verb.sbuild,
        usage=sbuild_verb.USAGE,
        description=sbuild_verb.DESCRIPTION,
        quiet_inside=True,
    ),
    Verb(
        ("schroot-config",),
        "make a base a chroot of schroot and sbuild",
        other_verbs.add_schroot_config,
        other_verbs.configure_schroot,
        description="Print the entry that makes a base a chroot of schroot, and so of sbuild; see docs/schroot.md.",
        for_programs=True,
    ),
    Verb(
        ("doctor",),
        "say what works on this machine, and how to mend what does not",
        other_verbs.add_doctor,
        other_verbs.diagnose,
        description="Say what works on this machine and what does not, each with the command that mends it.",
        for_programs=True,
    ),
    Verb(
        ("config",),
        "show what is configured, and where",
        other_verbs.add_configuration,
        other_verbs.show_configuration,
        description=(
            "Show every option that can be configured, with what holds and where it was said, in the form of a "
            "configuration file."
        ),
        for_programs=True,
    ),
    Verb(
        ("completion",),
        "print what a shell needs to complete words of a command",
        other_verbs.add_completion,
        other_verbs.show_completion,
        for_programs=True,
    ),
)


def verb_named(name: str) -> Verb:
    return next(verb for verb in VERBS if name in verb.names)
