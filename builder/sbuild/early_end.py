"""The log of a build that could not begin: its source is not to be had, or there is nothing to build in."""

from __future__ import annotations

from pathlib import Path

from builder.build.log_files import LogPlace
from builder.build.summary import Status, Summary
from builder.debian import architectures
from builder.log import BuildLog, timestamp
from builder.problems import Problem
from builder.sbuild.meaning import Asked
from builder.screen import Screen
from cowfs import __version__


def write(asked: Asked, screen: Screen, stage: str, status: Status, problem: Problem) -> int:
    """In sbuild's shape, for those who read the reason out of it; sbuild's exit code."""
    log, summary = BuildLog(screen), Summary()
    settings = asked.settings
    # A file that there is has a version in its name; of anything else nobody knows what it is.
    found = Path(asked.package).is_file()
    name, _, version = Path(asked.package).name.removesuffix(".dsc" if found else "").partition("_")
    own = architectures.machine()
    host, build = settings["host_arch"] or own, settings["build_arch"] or own
    stem = f"{name}{'_' * bool(version)}{version.partition(':')[2] or version}_{host}"
    directory = Path(settings["log_dir"]) if settings["log_dir"] else None
    place = LogPlace(Path(asked.output), stem, directory, settings["log_filename_ts_format"])
    if settings["nolog"]:
        log.keep_nowhere()
    else:
        place.start(log, summary.started)
    log.line(f"cowbuild (cowfs {__version__})\n")
    log.title(f"{name} {version} ({host})", timestamp(summary.started))
    summary.fields.update({"Package": name, **({"Version": version, "Source-Version": version} if version else {})})
    summary.fields.update({"Distribution": asked.distribution, "Job": asked.package})
    summary.fields.update({"Machine Architecture": own, "Host Architecture": host, "Build Architecture": build})
    if stage == "fetch-src":
        log.section("Fetch source files")
        log.line(
            f"E: {problem}" if found or not asked.package.endswith(".dsc") else f"E: Could not find {asked.package}"
        )
        log.section("Cleanup")
        log.line("E: Failed to fetch source files")
    else:
        log.line(f"E: Chroot for distribution {asked.distribution}, architecture {build} not found")
    log.line(f"E: {problem}")
    for line in problem.hint.splitlines():
        log.line(f"I: {line}")
    screen.reason(str(problem))
    summary.write(log, status, stage)
    place.link(log)
    log.close()
    return status.exit_code
