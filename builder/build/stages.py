"""One build: a linear list of stages over one session."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from debian.debian_support import DpkgArchTable

from builder import hostile_tree, screen
from builder.build import (
    artifacts,
    cached_dependencies,
    clean_check,
    cleanup,
    compiler_cache,
    contents,
    environment,
    explainers,
    hooks,
    introduction,
    remembering,
    resolvers,
    source_only,
    testers,
    vary,
    why,
)
from builder.build.binnmu import PUT_ON_TOP
from builder.build.build_stage import run_build
from builder.build.job import IN_UNION, BuildOptions, Job
from builder.build.outputs import Names
from builder.build.purpose import Purpose
from builder.build.summary import StageFailed, Status
from builder.build.update_chroot import bring_up_to_date, is_wanted
from builder.build.user_commands import commands, commands_on_failure, post_build_failed_commands
from builder.debian import dsc
from builder.log import BuildLog, timestamp
from builder.problems import Interrupted, Problem


def build(
    options: BuildOptions,
    directories: Sequence[Path],
    *,
    show: screen.Screen | None = None,
    stages: Callable[[Job], None] | None = None,
) -> int:
    """Build a source package in a session in private directories; return sbuild's exit code.

    It goes through `stages`, by itself `run_stages`. Its log is shown on `show`, else as the options say.

    Problem only before the log begins: for a .dsc that cannot be read, a base that is none.
    """
    log = BuildLog(show or screen.of_build(quiet=options.quiet, one_of_several=options.one_of_several))
    job = Job(options, directories, log)
    if options.log_file:
        job.log_place.start(log, job.summary.started)
    else:
        log.keep_nowhere()
    introduction.show(job)
    log.screen.about(job.source.version, log.path)
    status, failed_stage = Status.SUCCESSFUL, None
    try:
        (stages or run_stages)(job)
    except StageFailed as failure:
        status, failed_stage = failure.status, failure.stage
        log.screen.reason(f"{failure.stage}: {failure}")
        cleanup.clean_up(job, failed_stage, f"{failure}", *failure.hint.splitlines())
        why.tell(job, failure)
    except Interrupted:
        status, failed_stage = Status.FAILED, job.stage
        cleanup.clean_up(job, failed_stage, f"interrupted in stage {job.stage}")
    else:
        cleanup.clean_up(job, None)
    if stages is None:
        remembering.remember(job, status, failed_stage)
    job.summary.write(log, status, failed_stage)
    if failed_stage is not None:
        log.screen.stage(failed_stage)
    job.log_place.link(log)
    log.close()
    # Where nobody reads the log, skipped must not look like done.
    return 1 if status is Status.SKIPPED and options.for_wanna_build else status.exit_code


def run_stages(job: Job, purpose: Purpose | None = None) -> None:
    in_session = hooks.reach_into_session(job.options.commands, "pre-build")
    with post_build_failed_commands(job):
        if not in_session:
            commands(job, "pre-build")
        with (purpose.root if purpose else dependency_layer)(job) as layers:
            job.below = layers
            again = job.options.compare or job.options.minimise or vary.wanted(job.options)
            second = begin_second(job, layers) if again else None
            with job.open_session(
                job.directory,
                layers,
                vary.first(job.options),
                traced=job.options.trace,
                in_union=in_union(job.options),
                memory=job.options.build_in_memory,
            ):
                with commands_on_failure(job, "chroot-cleanup"):
                    if purpose:
                        purpose.look(job)
                    if not layers:
                        get_ready(job, first=in_session)
                    work_in_session(job)
                    commands(job, "chroot-cleanup")
                if second is None:
                    finish(job, purpose)
            if second is not None:
                finish(job, purpose, second)


def in_union(options: BuildOptions) -> Sequence[str]:
    if options.snapshot_steps:
        return tuple(IN_UNION)  # what lies elsewhere is in no state
    # What is left in /tmp is in the trace's report.
    return ["tmp"] if options.trace else []


def begin_second(job: Job, layers: Sequence[Path]) -> Callable[[], None]:
    """Begin the build under variations, where it can go on beside the first; what is returned compares the two."""
    # Only felt by builds that have one.
    from builder.build import incremental, minimise, trials, twice

    if job.options.minimise:
        return lambda: minimise.minimise(job, build_from_the_base)

    second = trials.begin(job, layers, build_again)
    if job.options.compare:
        return lambda: incremental.compare(job, second())
    return lambda: twice.compare(job, second(), layers, build_again)


def build_again(job: Job) -> artifacts.Artifacts:
    """What the same makes in another session, which is open."""
    staging = job.directory / "artifacts"
    staging.mkdir()
    with commands_on_failure(job, "chroot-cleanup"):
        unpack(job)
        hack_version(job)
        commands(job, "starting-build")
        run_build(job)
        commands(job, "finished-build")
        with job.part("fetch-artifacts", Status.ATTEMPTED):
            made = artifacts.take(job.session.root, job.place.lstrip("/"), staging)
        commands(job, "chroot-cleanup")
    return made


def build_from_the_base(job: Job) -> artifacts.Artifacts:
    """What the same makes in another session, which is open and has no dependencies yet."""
    commands(job, "chroot-setup")
    update_chroot(job)
    install_dependencies(job)
    return build_again(job)


@contextmanager
def dependency_layer(job: Job) -> Iterator[Sequence[Path]]:
    """The frozen layer with the build dependencies, taken from the cache or made for it; none where that is not wanted.

    Where it has to be made, the stages up to the dependencies have been gone through when this begins.
    """
    if job.layer_directory is None:
        yield [] if not job.options.layered else [layer_of_this_build(job)]
        return
    with job.part("install-deps", Status.GIVEN_BACK):
        request = resolvers.wanted(job)
        key = cached_dependencies.key(job, request.as_dsc(), *resolvers.key(job.options))
    name = f"{job.source.name} {job.source.version}"
    made = cached_dependencies.kept_or_made(
        job, key, job.layer_directory, package=name, make=lambda: get_layer_ready(job)
    )
    with made as (below, kept):
        if kept is not None:
            if is_wanted(job):
                job.log.section("Update chroot")
                job.log.line("Not needed: the dependency layer below is up to date.")
            fetch_source(job)
            job.log.section("Install package build dependencies")
            job.log.line(f"Build-Depends: {request.depends}")
            job.log.line(f"They are in the dependency layer of {timestamp(kept.made)} ({key})")
        yield below


def finish(job: Job, purpose: Purpose | None, compare: Callable[[], None] | None = None) -> None:
    """Give out what was made, and have it looked at; the session is still there where nothing is compared."""
    deliver(job)
    clean_check.judge(job)
    if purpose:
        purpose.judge(job)
    if compare is not None:
        compare()
    testers.run(job)
    commands(job, "post-build")


def get_layer_ready(job: Job) -> None:
    with commands_on_failure(job, "chroot-cleanup"):
        get_ready(job)


def layer_of_this_build(job: Job) -> Path:
    place = job.directory / "dependencies"
    place.mkdir()
    # The layer is all that the build's session gets of it, with what commands of the user left in /tmp.
    with job.open_session(place, in_union=["tmp"]), commands_on_failure(job, "chroot-cleanup"):
        get_ready(job)
    return place / "layer"


def get_ready(job: Job, *, first: bool = False) -> None:
    """`first`: the user's first commands are for this session, and have not been run yet."""
    if first:
        commands(job, "pre-build")
    commands(job, "chroot-setup")
    update_chroot(job)
    fetch_source(job)
    install_dependencies(job)


def work_in_session(job: Job) -> None:
    check_architecture(job)
    environment.show(job)
    unpack(job)
    check_space(job)
    hack_version(job)
    commands(job, "starting-build")
    with clean_check.checked(job):
        with watched(job):
            run_build(job)
        commands(job, "finished-build")
        take_artifacts(job)
        contents.show(job)


def watched(job: Job) -> AbstractContextManager[None]:
    """What is to be known of the build while it runs."""
    # Either would be felt by the start of every build.
    if job.options.trace:
        from builder.build import trace_report

        return trace_report.traced(job, resolvers.wanted(job))
    if job.options.snapshot_steps:
        from builder.build import step_states

        return step_states.taken(job)
    return nullcontext()


def fetch_source(job: Job) -> None:
    job.log.section("Fetch source files")
    with job.part("fetch-src", Status.GIVEN_BACK):
        job.sources.mkdir()
        dsc.fetch(job.source, job.sources)
        job.log.line(f"{job.source.dsc.name}: {job.source.signature}")
        for listed in job.source.files:
            job.log.line(f"{listed.name}: {listed.size} bytes, checksum right")


def update_chroot(job: Job) -> None:
    if is_wanted(job):
        job.log.section("Update chroot")
    with commands_on_failure(job, "chroot-update-failed"):
        bring_up_to_date(job)


def install_dependencies(job: Job) -> None:
    job.log.section("Install package build dependencies")
    started = time.monotonic()
    with (
        commands_on_failure(job, "build-deps-failed"),
        compiler_cache.missed(job),
        explainers.explained(job),
        job.part("install-deps", Status.GIVEN_BACK),
    ):
        job.wanted = request = resolvers.wanted(job)
        job.log.line(f"Build-Depends: {request.depends}")
        if request.conflicts:
            job.log.line(f"Build-Conflicts: {request.conflicts}")
        resolvers.install(job, request)
    job.summary.note_seconds("Install-Time", time.monotonic() - started)


def check_architecture(job: Job) -> None:
    job.log.section("Check architectures")
    listed = job.source.architectures
    table = DpkgArchTable.load_arch_table()
    fits = any(each == "all" or table.matches_architecture(job.architecture, each) for each in listed)
    job.log.line(f"The source builds on: {' '.join(listed)}; this is {job.architecture}")
    if not fits:
        job.log.line(
            f"E: dsc: {job.architecture} not in arch list or does not match any arch wildcards: "
            f"{' '.join(listed)} -- skipping"
        )
        raise StageFailed("arch-check", Status.SKIPPED, f"the source does not build on {job.architecture}")


def unpack(job: Job) -> None:
    job.log.section("Build")
    job.log.subsection("Unpack source")
    with job.part("unpack", Status.GIVEN_BACK):
        for line in dsc.told(job.sources / job.source.dsc.name):
            job.log.line(line)
        job.log.line()
        job.goes_on = job.goes_on and taken_up(job)
        if job.goes_on:
            return
        job.make_place()
        with hostile_tree.directory(job.session.root, job.place.lstrip("/")) as place:
            for file in sorted(job.sources.iterdir()):
                hostile_tree.copy_in(file, place, file.name, job.owner)
        command = ("dpkg-source", "--no-check", "-x", job.source.dsc.name, job.source_directory)
        job.session.run(
            *command, identity=job.session.builder, directory=job.place, environment={"HOME": "/nonexistent"}
        )


def taken_up(job: Job) -> bool:
    # Only felt by builds that ask for it.
    from builder.build import incremental

    return incremental.take_up(job)


def check_space(job: Job) -> None:
    job.log.subsection("Check disk space")
    needed = 2 * job.source.size
    with hostile_tree.directory(job.session.root, job.place.lstrip("/")) as place:
        space = os.fstatvfs(place)
    free = space.f_bavail * space.f_frsize
    job.log.line(f"{free // 1024}k free, {needed // 1024}k needed at least")
    if free < needed:
        told = f"Source needs {job.source.size // 1024} KiB, while {free // 1024} KiB is free.)"
        raise StageFailed("check-space", Status.GIVEN_BACK, "Disk space is probably not sufficient for building.", told)


def hack_version(job: Job) -> None:
    rebuild = job.options.rebuild
    if not rebuild.wanted:
        return
    job.log.subsection("Hack binNMU version")
    with job.part("hack-binNMU", Status.GIVEN_BACK):
        entry = rebuild.entry(job.source.name, job.source.version, job.distribution, job.architecture)
        put = ("sh", "-c", PUT_ON_TOP, "put-on-top", entry)
        job.session.run(*put, identity=job.session.builder, directory=job.build_directory)
        job.summary.fields["Version"] = rebuild.version(job.source.version)
        job.log.line(f"Created changelog entry for binNMU version {rebuild.version(job.source.version)}")


def take_artifacts(job: Job) -> None:
    with job.part("fetch-artifacts", Status.ATTEMPTED):
        staging = job.directory / "artifacts"
        staging.mkdir()
        job.result = artifacts.take(job.session.root, job.place.lstrip("/"), staging)
        if job.options.source_only_changes:
            source_only.add(job)
        check_name(job, job.result)


def check_name(job: Job, made: artifacts.Artifacts) -> None:
    """Problem where the .changes is not named after the source and version that were to be built."""
    version = job.options.rebuild.version(job.source.version) if job.options.rebuild.wanted else job.source.version
    wanted = Names(job.source.name, version)
    # The user's own commands may have changed the version in the changelog.
    may_differ = any(job.options.commands.get(point) for point in hooks.INSIDE)
    if made.made.source != wanted.source or (made.made.version != wanted.version and not may_differ):
        raise Problem(f"The build made {made.names[0]}, which is not of {wanted.source} {wanted.version}")


def deliver(job: Job) -> None:
    assert job.result is not None
    with job.part("store-artifacts", Status.FAILED):
        artifacts.publish(job.result, job.options.output, source_built=job.options.build_source)
