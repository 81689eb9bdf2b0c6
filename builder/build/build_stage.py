"""The stage that the others are for: dpkg-buildpackage in the session, as its builder."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from builder.build import buildpackage, compiler_cache, vary, why
from builder.build.job import Job
from builder.build.summary import StageFailed, Status
from builder.build.user_commands import commands_on_failure
from builder.log import timestamp
from builder.problems import Problem
from builder.process import shown


def run_build(job: Job) -> None:
    options = job.options
    with job.part("build", Status.FAILED):
        variables = buildpackage.variables(options, job.surroundings) | vary.fake_clock(job)
        with compiler_cache.bound(job, variables) as before:
            _run(job, variables, before)
    job.log.line("I: Built successfully")
    with suppress(Problem):  # one figure less
        _note_space(job)


def _run(job: Job, variables: Mapping[str, str], before: Sequence[str]) -> None:
    """`before`: words before dpkg-buildpackage's command."""
    options = job.options
    job.log.subsection("User Environment")
    for name, value in sorted(variables.items()):
        job.log.line(f"{name}={value}")
    job.log.subsection("dpkg-buildpackage")
    command = (
        *buildpackage.command(options, job.surroundings, clean=not job.goes_on),
        *buildpackage.with_suffix(options, job.made_stem),
    )
    if options.verbose:
        job.log.line(job.session.sandbox.describe(job.session.builder, network=options.network))
    job.log.line(f"Command: {shown(command)}")
    started = time.monotonic()
    try:
        with commands_on_failure(job, "build-failed"), why.looked_into(job), job.part("build", Status.ATTEMPTED):
            job.session.run(
                *before,
                *command,
                identity=job.session.builder,
                network=options.network,
                directory=job.build_directory,
                environment=variables,
                time_limit=options.time_limit,
                silence_limit=options.silence_limit,
            )
    except StageFailed:
        with suppress(Problem):
            _note_space(job)
        raise
    finally:
        job.summary.note_seconds("Build-Time", time.monotonic() - started)
        job.log.rule()
        job.log.line(f"Build finished at {timestamp(time.time())}")
        job.log.subsection("Finished")


def _note_space(job: Job) -> None:
    # By the session's own du, which may have been replaced; and what it counts may be gone.
    kilobytes = None
    for directory in (job.build_directory, job.place):  # the build may have renamed or removed its own tree
        with suppress(Problem):
            kilobytes = kilobytes or re.match(r"[0-9]{1,15}(?=\s)", job.session.output("du", "-sk", directory))
    job.summary.kilobytes = int(kilobytes[0]) if kilobytes else 0
    job.summary.fields["Build-Space"] = job.summary.fields["Space"] = str(job.summary.kilobytes)
