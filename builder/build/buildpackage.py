"""dpkg-buildpackage as a build calls it: its command line and its environment."""

from __future__ import annotations

import os

from builder.build import cross
from builder.build.job import BuildOptions
from builder.session.surroundings import USUAL, VARIABLES, Surroundings


def command(options: BuildOptions, seen: Surroundings, *, clean: bool = True) -> tuple[str, ...]:
    """`clean`: begin with the target of that name."""
    return (
        *options.before_build.split(),
        "dpkg-buildpackage",
        # It would set the umask, too.
        *(["--sanitize-env"] if seen.umask == USUAL.umask else []),
        *("-us", "-uc", "-rfakeroot", *([] if clean else ["--no-pre-clean"])),
        *([f"--host-arch={options.host}"] if options.host else []),
        *([f"-m{options.rebuild.maintainer}"] if options.rebuild.maintainer else []),
        *([f"-e{options.uploader}"] if options.uploader else []),
        *([f"--changes-option=-DDistribution={options.distribution}"] if options.says_distribution else []),
        *(f"--build={options.build_type}", *options.debbuild_options),
    )


def with_suffix(options: BuildOptions, stem: str) -> tuple[str, ...]:
    """What tells dpkg-buildpackage to put something behind the architecture in the names of its own files."""
    if not options.file_suffix:
        return ()
    return tuple(f"--{kind}-option=-O../{stem}{options.file_suffix}.{kind}" for kind in ("changes", "buildinfo"))


def variables(options: BuildOptions, seen: Surroundings) -> dict[str, str]:
    """The environment of a build, all of it."""
    found = {
        **VARIABLES,
        "HOME": seen.home,
        "LOGNAME": seen.user_name,
        "USER": seen.user_name,
        **(options.environment or {}),
    }
    if build_options := _build_options(options, seen.jobs or options.jobs):
        found["DEB_BUILD_OPTIONS"] = " ".join(build_options)
    if options.profiles:
        found["DEB_BUILD_PROFILES"] = " ".join(options.profiles)
    if options.host:
        found |= cross.variables(options.host)
    return found | dict(seen.variables)


def _build_options(options: BuildOptions, jobs: int | None) -> list[str]:
    """The caller's own, as sbuild has them, which may say how many jobs; a cross build's tests cannot run here."""
    environment = os.environ if options.environment is None else options.environment
    given = environment.get("DEB_BUILD_OPTIONS", "nocheck" if options.host else "").split()
    if jobs is not None and not any(word.startswith("parallel=") for word in given):
        given.append(f"parallel={jobs}")
    return given
