"""One build: a linear list of stages over one session."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from debian.debian_support import DpkgArchTable

from builder import artifacts, base, beneath, depends, rootless, source
from builder.log import BuildLog, Interrupted, Problem, timestamp
from builder.process import TimedOut, shown
from builder.session import BUILDER, USER_NAME, VARIABLES, Session, opened
from builder.summary import StageFailed, Status, Summary

PLACE = "build/reproducible-path"

@dataclass(frozen=True)
class BuildOptions:
    """What `cowbuild build` is asked for."""

    dsc: Path
    base: Path
    output: Path
    build_any: bool = True
    build_all: bool = True
    build_source: bool = False
    profiles: tuple[str, ...] = ()
    jobs: int = 1
    apt_update: bool = True
    apt_upgrade: bool = False
    network: bool = False
    add_depends: tuple[str, ...] = ()
    add_conflicts: tuple[str, ...] = ()
    resolve_alternatives: bool = False
    debbuild_options: tuple[str, ...] = ()
    time_limit: float | None = None
    silence_limit: float | None = None

    @property
    def build_type(self) -> str:
        """dpkg-buildpackage's word for what is built."""
        parts = {"source": self.build_source, "any": self.build_any, "all": self.build_all}
        words = [word for word, wanted in parts.items() if wanted]
        return {"any,all": "binary", "source,any,all": "full"}.get(",".join(words), ",".join(words))


class Job:
    """What the stages of one build share."""

    def __init__(self, options: BuildOptions, directory: Path, log: BuildLog) -> None:
        self.options = options
        self.directory = directory
        self.log = log
        self.summary = Summary()
        self.source = source.read(options.dsc)
        self.architecture = base.architecture(options.base)
        self._session: Session | None = None
        self.stage = "create-session"
        self.result: artifacts.Artifacts | None = None

    @contextmanager
    def part(self, stage: str, status: Status) -> Iterator[None]:
        """Where a problem comes from in here, the build ends with job stage and status."""
        self.stage = stage
        try:
            yield
        except Problem as problem:
            raise StageFailed(stage, status, str(problem), problem.hint) from None
        except TimedOut as problem:
            raise StageFailed(stage, status, str(problem)) from None
        except OSError as problem:
            raise StageFailed(stage, status, str(problem)) from None

    @property
    def session(self) -> Session:
        assert self._session is not None, "only while the session is open"
        return self._session

    @contextmanager
    def open_session(self) -> Iterator[None]:
        with ExitStack() as stack:
            with self.part("create-session", Status.GIVEN_BACK):
                self._session = stack.enter_context(opened(self.options.base, self.directory, self.log))
            yield

    @property
    def build_directory(self) -> str:
        return f"/{PLACE}/{self.source.directory_name}"


def check(options: BuildOptions) -> None:
    """Problem where the build cannot even begin."""
    rootless.check_fuse()
    if not options.dsc.is_file():
        raise Problem(f"There is no file {options.dsc}")
    if not (options.build_any or options.build_all or options.build_source):
        raise Problem("Nothing is to be built: --no-arch-any and --no-arch-all together, and no --source")
    if not os.access(options.output, os.W_OK):
        raise Problem(f"The output directory {options.output} is missing or may not be written to")
    base.architecture(options.base)
    base.check_ours(options.base)


def build(options: BuildOptions, directory: Path) -> int:
    """Build a source package in a session in the private `directory`; return sbuild's exit code.

    Problem only before the log begins: for a .dsc that cannot be read, a base that is none.
    """
    log = BuildLog()
    job = Job(options, directory, log)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(job.summary.started))
    stem = f"{job.source.name}_{job.source.version_without_epoch}_{job.architecture}"
    try:
        log.keep_in(options.output / f"{stem}-{started}.build")
    except OSError as error:
        raise Problem(f"Cannot write the log into {options.output}: {error.strerror}") from None
    introduce(job)
    status, failed_stage = Status.SUCCESSFUL, None
    try:
        run_stages(job)
    except StageFailed as failure:
        status, failed_stage = failure.status, failure.stage
        log.line(f"\nE: {failure}")
        for line in failure.hint.splitlines():
            log.line(f"   {line}")
        log.line(f"E: the build of {job.source.name} ended in stage {failure.stage}")
    except Interrupted:
        status, failed_stage = Status.FAILED, job.stage
        log.line(f"\nE: interrupted in stage {job.stage}")
    job.summary.write(log, status, failed_stage)
    log.close()
    _link_latest(options.output, stem, log.path)
    return status.exit_code


def run_stages(job: Job) -> None:
    with job.open_session():
        update_chroot(job)
        fetch_source(job)
        install_dependencies(job)
        check_architecture(job)
        unpack(job)
        check_space(job)
        run_build(job)
        take_artifacts(job)
        show_artifacts(job)
    deliver(job)


def introduce(job: Job) -> None:
    package, options = job.source, job.options
    job.log.title(f"{package.name} {package.version} ({job.architecture})", timestamp(job.summary.started))
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Source-Version": package.version,
        "Distribution": base.code_name(options.base),
        "Machine Architecture": job.architecture,
        "Host Architecture": job.architecture,
        "Build Architecture": job.architecture,
        "Build Type": options.build_type,
        "Build Profiles": " ".join(options.profiles),
        "Job": str(package.dsc),
    }
    job.summary.fields.update({name: text for name, text in fields.items() if text})
    for name in ("Package", "Version", "Distribution", "Host Architecture", "Build Type"):
        job.log.line(f"{name}: {fields[name]}")
    job.log.line(f"Base: {options.base}")


def fetch_source(job: Job) -> None:
    job.log.section("Fetch source files")
    with job.part("fetch-src", Status.GIVEN_BACK):
        fetched = job.directory / "source"
        fetched.mkdir()
        source.fetch(job.source, fetched)
        job.log.line(f"{job.source.dsc.name}: {job.source.signature}")
        for listed in job.source.files:
            job.log.line(f"{listed.name}: {listed.size} bytes, checksum right")


def update_chroot(job: Job) -> None:
    job.log.section("Update chroot")
    if job.options.apt_update:
        with job.part("apt-get-update", Status.GIVEN_BACK):
            job.session.apt_get("update")
    if job.options.apt_upgrade:
        with job.part("apt-get-dist-upgrade", Status.GIVEN_BACK):
            job.session.apt_get("dist-upgrade")


def install_dependencies(job: Job) -> None:
    job.log.section("Install package build dependencies")
    started = time.monotonic()
    options = job.options
    with job.part("install-deps", Status.GIVEN_BACK):
        choice = depends.Choice(
            architecture=job.architecture,
            build_any=options.build_any,
            build_all=options.build_all,
            profiles=frozenset(options.profiles),
            all_alternatives=options.resolve_alternatives,
        )
        request = depends.requested(
            job.source, choice, add_depends=options.add_depends, add_conflicts=options.add_conflicts
        )
        job.log.line(f"Build-Depends: {request.depends}")
        if request.conflicts:
            job.log.line(f"Build-Conflicts: {request.conflicts}")
        described = job.directory / "build-depends.dsc"
        described.write_text(request.as_dsc())
        with beneath.directory(job.session.root, "var/tmp") as place:
            beneath.copy_in(described, place, "cowbuild-build-depends.dsc")
        inside = "/var/tmp/cowbuild-build-depends.dsc"
        job.session.apt_get("build-dep", inside)
        # The build has no network, and is not told whom the machine asks for names.
        after = f"rm -f {inside} && " + (":" if options.network else ": > /etc/resolv.conf")
        job.session.run("sh", "-c", after)
    job.summary.note_seconds("Install-Time", time.monotonic() - started)


def check_architecture(job: Job) -> None:
    job.log.section("Check architectures")
    listed = job.source.architectures
    table = DpkgArchTable.load_arch_table()
    fits = any(each == "all" or table.matches_architecture(job.architecture, each) for each in listed)
    job.log.line(f"The source builds on: {' '.join(listed)}; this is {job.architecture}")
    if not fits:
        raise StageFailed("arch-check", Status.SKIPPED, f"the source does not build on {job.architecture}")


def unpack(job: Job) -> None:
    job.log.section("Build")
    job.log.subsection("Unpack source")
    with job.part("unpack", Status.GIVEN_BACK):
        job.session.run("sh", "-c", f"mkdir -p /{PLACE} && chown {BUILDER.uid}:{BUILDER.gid} /{PLACE}")
        with beneath.directory(job.session.root, PLACE) as place:
            for file in sorted((job.directory / "source").iterdir()):
                beneath.copy_in(file, place, file.name)
        command = ("dpkg-source", "--no-check", "-x", job.source.dsc.name, job.source.directory_name)
        job.session.run(*command, identity=BUILDER, directory=f"/{PLACE}", environment={"HOME": "/nonexistent"})


def check_space(job: Job) -> None:
    job.log.subsection("Check disk space")
    needed = 2 * job.source.size
    free = shutil.disk_usage(job.directory).free
    job.log.line(f"{free // 1024}k free, {needed // 1024}k needed at least")
    if free < needed:
        raise StageFailed("check-space", Status.GIVEN_BACK, "there is not enough disk space for the build")


def run_build(job: Job) -> None:
    options = job.options
    variables = {
        "HOME": "/nonexistent",
        "LOGNAME": USER_NAME,
        "USER": USER_NAME,
        "DEB_BUILD_OPTIONS": f"parallel={options.jobs}",
    }
    if options.profiles:
        variables["DEB_BUILD_PROFILES"] = " ".join(options.profiles)
    job.log.subsection("User Environment")
    for name, value in sorted({**VARIABLES, **variables}.items()):
        job.log.line(f"{name}={value}")
    job.log.subsection("dpkg-buildpackage")
    command = (
        *("dpkg-buildpackage", "--sanitize-env", "-us", "-uc", "-rfakeroot"),
        *(f"--build={options.build_type}", *options.debbuild_options),
    )
    job.log.line(f"Command: {shown(command)}")
    started = time.monotonic()
    try:
        with job.part("build", Status.ATTEMPTED):
            job.session.run(
                *command,
                identity=BUILDER,
                network=options.network,
                directory=job.build_directory,
                environment=variables,
                time_limit=options.time_limit,
                silence_limit=options.silence_limit,
            )
    finally:
        job.summary.note_seconds("Build-Time", time.monotonic() - started)
    job.log.subsection("Finished")
    _note_space(job)


def _note_space(job: Job) -> None:
    used = job.session.output("du", "-sk", job.build_directory)
    job.summary.kilobytes = int(used.split()[0])
    job.summary.fields["Build-Space"] = job.summary.fields["Space"] = str(job.summary.kilobytes)


def take_artifacts(job: Job) -> None:
    with job.part("fetch-artifacts", Status.ATTEMPTED):
        staging = job.directory / "artifacts"
        staging.mkdir()
        job.result = artifacts.take(job.session.root, PLACE, staging)


def show_artifacts(job: Job) -> None:
    assert job.result is not None
    job.log.section("Changes")
    job.log.write(job.result.changes.read_bytes())
    for buildinfo in job.result.ending(".buildinfo"):
        job.log.section("Buildinfo")
        job.log.write(buildinfo.read_bytes())
    job.log.section("Package contents")
    for package in job.result.ending(".deb", ".udeb"):
        job.log.subsection(package.name)
        # Inside: dpkg-deb reads what the build wrote, and not every machine has it.
        with job.part("package-contents", Status.ATTEMPTED):
            for what in ("--info", "--contents"):
                job.session.run("dpkg-deb", what, package.name, identity=BUILDER, directory=f"/{PLACE}")
                job.log.line()


def deliver(job: Job) -> None:
    assert job.result is not None
    with job.part("store-artifacts", Status.FAILED):
        artifacts.publish(job.result, job.options.output)


def _link_latest(output_directory: Path, stem: str, log_path: Path | None) -> None:
    """As sbuild does: NAME.build points to the last log."""
    assert log_path is not None
    link = output_directory / f".{stem}.build.{os.getpid()}"
    try:
        link.symlink_to(log_path.name)
        link.rename(output_directory / f"{stem}.build")
    except OSError:
        link.unlink(missing_ok=True)
