"""dpkg-buildpackage as a build calls it: its command line and its environment."""

from __future__ import annotations

import os

from builder.build import cross
from builder.build.job import BuildOptions
from builder.session.surroundings import USUAL, VARIABLES, Surroundings


def command(options: BuildOptions, seen: Surroundings) -> tuple[str, ...]:
    return (
        "dpkg-buildpackage",
        # It would set the umask, too.
        *(["--sanitize-env"] if seen.umask == USUAL.umask else []),
        *("-us", "-uc", "-rfakeroot"),
        *([f"--host-arch={options.host}"] if options.host else []),
        *([f"-m{options.rebuild.maintainer}"] if options.rebuild.maintainer else []),
        *([f"-e{options.uploader}"] if options.uploader else []),
        *(f"--build={options.build_type}", *options.debbuild_options),
    )


def variables(options: BuildOptions, seen: Surroundings) -> dict[str, str]:
    """The environment of a build, all of it."""
    found = {
        **VARIABLES,
        "HOME": seen.home,
        "LOGNAME": seen.user_name,
        "USER": seen.user_name,
        "DEB_BUILD_OPTIONS": " ".join(_build_options(options, seen.jobs or options.jobs)),
    }
    if options.profiles:
        found["DEB_BUILD_PROFILES"] = " ".join(options.profiles)
    if options.host:
        found |= cross.variables(options.host)
    return found | dict(options.environment) | dict(seen.variables)


def _build_options(options: BuildOptions, jobs: int) -> list[str]:
    """The caller's own, as sbuild has them, which may say how many jobs; a cross build's tests cannot run here."""
    given = os.environ.get("DEB_BUILD_OPTIONS", "nocheck" if options.host else "").split()
    if not any(word.startswith("parallel=") for word in given):
        given.append(f"parallel={jobs}")
    return given
