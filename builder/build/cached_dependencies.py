"""Frozen layers for a build's sessions: taken from the cache, or made in a session of their own and kept there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from builder.build.job import Job
from builder.build.summary import Status
from builder.store import dependency_layers
from builder.store.dependency_layers import DependencyLayer


def key(job: Job, *parts: str) -> str:
    """The key of what a session over the build's base gets by `parts` and by what all its sessions get."""
    options = job.options
    updated = options.apt_update is not False
    everywhere = (f"host: {options.host}", f"upgrade: {options.apt_upgrade}", f"update: {updated}")
    return dependency_layers.key_of(options.base, *parts, *everywhere)


@contextmanager
def kept_or_made(
    job: Job, wanted: str, directory: Path, *, package: str, make: Callable[[], None], age: float | None = None
) -> Iterator[tuple[Sequence[Path], DependencyLayer | None]]:
    """The layer of a key, and what the cache knows of it where it was in there.

    Where it was not, it is what `make` does to the session that is then opened in `directory`. `age`: the seconds for
    which it is right, where the build's options do not say so.
    """
    options = job.options
    if age is None:
        age = {True: 0.0, False: float("inf"), None: options.deps_cache_age}[options.apt_update]
    with dependency_layers.layer_in_use(wanted, age) as kept:
        if kept is not None:
            yield [kept.layer], kept
            return
    with job.open_session(directory):
        make()
    with job.part("keep-deps", Status.FAILED), ExitStack() as stack:
        made = stack.enter_context(
            dependency_layers.published_layer(wanted, directory / "layer", package=package, base=options.base)
        )
        dependency_layers.prune(options.deps_cache_limit)
        held = stack.pop_all()
    with held:
        yield [made], None
