"""dpkg-buildpackage as a build calls it: its command line and its environment."""

from __future__ import annotations

import os

from builder.build import cross
from builder.build.job import BuildOptions
from builder.session.session import USER_NAME


def command(options: BuildOptions) -> tuple[str, ...]:
    return (
        *("dpkg-buildpackage", "--sanitize-env", "-us", "-uc", "-rfakeroot"),
        *([f"--host-arch={options.host}"] if options.host else []),
        *([f"-m{options.rebuild.maintainer}"] if options.rebuild.maintainer else []),
        *([f"-e{options.uploader}"] if options.uploader else []),
        *(f"--build={options.build_type}", *options.debbuild_options),
    )


def variables(options: BuildOptions) -> dict[str, str]:
    found = {
        "HOME": "/nonexistent",
        "LOGNAME": USER_NAME,
        "USER": USER_NAME,
        "DEB_BUILD_OPTIONS": " ".join(_build_options(options)),
    }
    if options.profiles:
        found["DEB_BUILD_PROFILES"] = " ".join(options.profiles)
    if options.host:
        found |= cross.variables(options.host)
    return found


def _build_options(options: BuildOptions) -> list[str]:
    """The caller's own, as sbuild has them, which may say how many jobs; a cross build's tests cannot run here."""
    given = os.environ.get("DEB_BUILD_OPTIONS", "nocheck" if options.host else "").split()
    if not any(word.startswith("parallel=") for word in given):
        given.append(f"parallel={options.jobs}")
    return given
