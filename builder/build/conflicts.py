"""What of a build's options does not go together."""

from __future__ import annotations

from pathlib import Path

from builder.build.job import BuildOptions
from builder.problems import Misuse
from builder.session import own_directories


def check(options: BuildOptions) -> None:
    """Misuse where one does not go with another."""
    if options.compare and not options.incremental:
        raise Misuse("--compare is said with --incremental: it builds clean as well", "To build twice: --twice")
    again = ("--twice, --vary and --bisect", options.twice or bool(options.vary) or options.bisect)
    memory = ("--build-in-memory", options.build_in_memory is not None)
    if options.minimise and not options.trace:
        raise Misuse("--minimise is said with --trace, which finds out what is unused", "--trace --minimise")
    if options.minimise:
        _refuse("--minimise", again, ("--compare", options.compare))
    if options.incremental:
        below_tmp = Path(options.build_place).is_relative_to(own_directories.TEMPORARY)
        _refuse(
            "--incremental",
            again,
            memory,
            ("--snapshot-steps", options.snapshot_steps),
            ("--source", options.build_source),
            ("--purge-session", options.purge_session != "always"),
            ("--in-union build", "build" in options.in_union),
            ("--build-path below /tmp", below_tmp),
        )
    states = ("--snapshot-steps", options.snapshot_steps)
    if options.check_clean:
        # It is about a tree that is clean before.
        _refuse("--check-clean", ("--incremental", options.incremental), states)
    if options.ccache or options.sccache:
        # What comes out of it is not compiled, which is what these would tell of.
        compared = ("--compare", options.compare)
        _refuse("--ccache" if options.ccache else "--sccache", again, compared, ("--trace", options.trace), states)
    if options.snapshot_steps:
        _refuse("--snapshot-steps", again, memory, ("--trace", options.trace))


def _refuse(option: str, *others: tuple[str, bool]) -> None:
    for other, given in others:
        if given:
            raise Misuse(f"{option} does not go with {other}")
