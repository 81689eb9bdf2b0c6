"""What looks at the finished packages: lintian, piuparts and autopkgtest, each in a session of its own over the base.

    the session of a program        base + layer with the program
     `- /build/reproducible-path    the .changes, what it lists, and the source
     `- /tested                     for piuparts: a second session over the base, in which it installs and removes

Their verdicts, in sbuild's words, go into the log and the summary. They fail the build only where that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from builder import hostile_tree
from builder.build import cached_dependencies, update_chroot
from builder.build.job import Job, Test
from builder.build.summary import StageFailed, Status
from builder.debian.base_facts import code_name
from builder.process import shown
from builder.session.session import How
from builder.session.surroundings import BUILDER, USER_NAME

# piuparts tests in a chroot that schroot gives it. This is all of schroot that it asks for.
SCHROOT = """#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
        --location) echo /tested; exit ;;
        --) shift; exec chroot /tested "$@" ;;
    esac
    shift
done
"""

LINTIAN_FOUND_ERRORS = 2

INSTALL_SCHROOT = "mkdir /tested; printf '%s' \"$1\" > /usr/local/bin/schroot; chmod 755 /usr/local/bin/schroot"


def run(job: Job) -> None:
    """Run the programs asked for on what the build made. StageFailed where one must succeed and does not."""
    if not job.options.tests and not job.options.always_post_build:
        return
    job.log.section("Post Build")
    failed = [test.program for test in job.options.tests if not _passes(job, test) and test.must_succeed]
    if failed:
        raise StageFailed("post-build", Status.FAILED, f"{' and '.join(failed)} did not pass")


def _passes(job: Job, test: Test) -> bool:
    job.log.subsection(test.program)
    try:
        verdict = PROGRAMS[test.program](job, test.options)
    except StageFailed as failure:
        job.log.line(f"E: {failure}")
        verdict = "error" if test.program == "lintian" else "fail"
    job.summary.fields[test.program.capitalize()] = verdict
    job.log.line(f"\n{test.program}: {verdict}")
    return verdict not in ("fail", "error")


def _lintian(job: Job, options: Sequence[str]) -> str:
    with _session(job, "lintian"), job.log.heard() as said:
        # Without the network, as the builder: it reads what the build wrote.
        code = _call(job, "lintian", *options, *_built(job), identity=BUILDER)
    if code != 0:
        return "fail" if code == LINTIAN_FOUND_ERRORS else "error"
    tags = {line[:3] for line in bytes(said).splitlines()}
    return "warn" if b"W: " in tags else "info" if b"I: " in tags else "pass"


def _autopkgtest(job: Job, options: Sequence[str]) -> str:
    with _session(job, "autopkgtest"):
        command = ("autopkgtest", f"--user={USER_NAME}", *options, *_built(job), "--", "null")
        code = _call(job, *command, network=True)
    # 2: some were skipped, or failed and may; 8: there are none.
    return {0: "pass", 2: "pass", 8: "no tests"}.get(code, "fail")


def _piuparts(job: Job, options: Sequence[str]) -> str:
    tested = job.directory / "tested"
    tested.mkdir()
    with job.open_session(tested):
        update_chroot.bring_up_to_date(job)
        root = job.session.root
        with _session(job, "piuparts"):
            with job.part("post-build", Status.FAILED):
                job.session.run("sh", "-ec", INSTALL_SCHROOT, "install", SCHROOT)
            command = (
                *("piuparts", "--schroot=tested", f"--distribution={code_name(job.options.base)}"),
                *("--keep-sources-list", *options, _built(job)[-1]),
            )
            code = _call(job, *command, network=True, nested=root)
    return "pass" if code == 0 else "fail"


PROGRAMS: Mapping[str, Callable[[Job, Sequence[str]], str]] = {
    "lintian": _lintian,
    "piuparts": _piuparts,
    "autopkgtest": _autopkgtest,
}
"""Each is also the name of its package."""

# What makes tests for the packages of some languages is only recommended by autopkgtest.
ADDED = {"autopkgtest": ("autodep8",)}


def _call(job: Job, *command: str, **how: Unpack[How]) -> int:
    job.log.line(f"\nCommand: {shown(command)}")
    inside: How = {**how, "directory": job.place}
    return job.session.call(*command, **inside)


def _built(job: Job) -> list[str]:
    """The files to look at: the .changes, and the .dsc before it where that does not list it."""
    assert job.result is not None
    changes, *others = job.result.names
    return [changes] if job.source.dsc.name in others else [job.source.dsc.name, changes]


@contextmanager
def _session(job: Job, program: str) -> Iterator[None]:
    """A session that has the program, and the files to look at in the build's place."""
    directory = job.directory / program
    directory.mkdir()
    with _layers_with(job, program) as below, job.open_session(directory, below):
        if not below:
            _install(job, program)
        with job.part("post-build", Status.FAILED):
            job.make_place()
            _copy_in(job)
        yield


@contextmanager
def _layers_with(job: Job, program: str) -> Iterator[Sequence[Path]]:
    if job.layer_directory is None:
        yield []
        return
    directory = job.layer_directory / program
    directory.mkdir()
    key = cached_dependencies.key(job, f"program: {program}")
    made = cached_dependencies.kept_or_made(job, key, directory, package=program, make=lambda: _install(job, program))
    with made as (below, _kept):
        yield below


def _install(job: Job, program: str) -> None:
    update_chroot.bring_up_to_date(job)
    with job.part("post-build", Status.FAILED):
        job.session.apt_get("install", program, *ADDED.get(program, ()))


def _copy_in(job: Job) -> None:
    assert job.result is not None
    files = {path.name: path for path in job.sources.iterdir()}
    files |= {name: job.result.directory / name for name in job.result.names}
    with hostile_tree.directory(job.session.root, job.place.lstrip("/")) as place:
        for name, path in sorted(files.items()):
            hostile_tree.copy_in(path, place, name, (BUILDER.uid, BUILDER.gid))
