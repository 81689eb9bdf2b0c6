"""`cowbuild build --incremental`: the source over the build tree of the last time, which itself stays as it was."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from builder import hostile_tree
from builder.build import buildpackage, trials, twice
from builder.build.job import Job
from builder.build.summary import StageFailed, Status
from builder.build.trials import Attempt
from builder.log import timestamp
from builder.problems import Problem
from builder.session import own_directories
from builder.store import build_trees
from builder.verdict.findings import Findings, Verdict

STAGE, FIELD = "incremental", "Incremental"

LAST, NEW = ".cowbuild-last", ".cowbuild-new"
"""Where the last source package and the new one are unpacked, beside the build's directory."""

# What differs between the last source and the new one is put into the tree, with the time of now, so that make(1) takes
# it to be newer than what was made of it; what both have is as the last build left it. debhelper's notes of what it did
# go: it would do nothing again.
PUT_OVER = r"""
set -e -o pipefail
export LC_ALL=C
list() (
    cd "$1"
    find . ! -type d -printf '%p\1%y%m %l\0'
    find . -type f -print0 | xargs -0r sha256sum -z -- | sed -z -E 's/^([^ ]*)  (.*)/\2\x01\1/'
)
list "$1" | sort -z > "$1.list"
list "$2" | sort -z > "$2.list"
names() { cut -z -d $'\1' -f 1 "$1.list" | uniq -z; }
comm -z -23 <(names "$1") <(names "$2") > "$1.gone"
comm -z -13 "$1.list" "$2.list" | cut -z -d $'\1' -f 1 | uniq -z > "$2.changed"
cd "$3"
xargs -0r rm -rf -- < "../$1.gone"
xargs -0r rm -rf -- < "../$2.changed"
(cd "../$2" && xargs -0r cp -P --parents -t "../$3" -- < "../$2.changed")
tr '\0' '\n' < "../$1.gone" | sed 's/^/gone: /'
tr '\0' '\n' < "../$2.changed" | sed 's/^/changed: /'
cd debian
rm -rf debhelper-build-stamp ./*.debhelper.log .debhelper files autoreconf.before autoreconf.after
cd ../..
rm -rf "$1" "$1".* "$2" "$2".*
"""


def take_up(job: Job) -> bool:
    """Bring the tree of the last time into the session, and the new source over it; False where the build is clean.

    Problem, OSError.
    """
    job.tree_conditions = _conditions(job)
    with build_trees.in_use(_key(job)) as last:
        if last is None:
            job.log.line("Incremental: there is no build tree of an earlier time, so this build is clean")
            return False
        if last.conditions != job.tree_conditions:
            job.log.line("Incremental: packages or options are not those of the last time, so this build is clean")
            return False
        job.log.line(f"Incremental: the build tree is that of {timestamp(last.made)}, made of {last.dsc}")
        job.make_place()
        inside = job.place.lstrip("/")
        with hostile_tree.directory(job.session.root, inside) as place:
            target = f"/proc/self/fd/{place}/{job.source_directory}"
            copy = ("cp", "-a", "--reflink=auto", "-T", str(last.tree), target)
            if subprocess.run(copy, stdin=subprocess.DEVNULL, check=False, pass_fds=[place]).returncode != 0:
                raise Problem(f"The build tree {last.tree} cannot be copied")
        _copy_source(job, last.source, f"{inside}/{LAST}")
        _copy_source(job, job.sources, inside)
        _put_over(job, last.dsc)
    return True


def _copy_source(job: Job, source: Path, inside: str) -> None:
    hostile_tree.make_directory(job.session.root, inside, job.owner)
    with hostile_tree.directory(job.session.root, inside) as place:
        for file in sorted(source.iterdir()):
            hostile_tree.copy_in(file, place, file.name, job.owner)


def _put_over(job: Job, last: str) -> None:
    def run(*command: str) -> None:
        home = {"HOME": "/nonexistent"}
        job.session.run(*command, identity=job.session.builder, directory=job.place, environment=home)

    run("dpkg-source", "--no-check", "-x", f"{LAST}/{last}", f"{LAST}.tree")
    run("dpkg-source", "--no-check", "-x", job.source.dsc.name, NEW)
    run("bash", "-c", PUT_OVER, "put-over", f"{LAST}.tree", NEW, job.source_directory)
    run("rm", "-rf", LAST)


def keep(job: Job) -> None:
    """Keep the tree of a build that succeeded, whose session has ended, for the next time."""
    whole = job.directory / "kept"
    try:
        whole.mkdir()
        with hostile_tree.directory(job.directory / own_directories.NAME, job.place.lstrip("/")) as place:
            # What a build put in its place is no tree to go on in.
            os.close(os.open(job.source_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place))
            os.rename(job.source_directory, whole / "tree", src_dir_fd=place)
        job.sources.rename(whole / "source")
        package = f"{job.source.name} {job.source.version}"
        build_trees.keep(
            _key(job),
            whole,
            package=package,
            base=job.options.base,
            conditions=job.tree_conditions,
            dsc=job.source.dsc.name,
        )
    except OSError as error:
        job.log.line(f"E: the build tree cannot be kept: {error.strerror or error}")
    else:
        job.log.line("The build tree is kept for the next --incremental: cowbuild cache list")


def _key(job: Job) -> str:
    return build_trees.key_of(str(job.options.base), job.source.name, job.architecture, job.place)


def _conditions(job: Job) -> str:
    """A digest of what was installed, and of what else decides on what is built. OSError."""
    options = job.options
    variables = buildpackage.variables(replace(options, jobs=None), job.surroundings)
    words = [options.build_type, job.source_directory, *options.debbuild_options, *map("=".join, variables.items())]
    with hostile_tree.directory(job.session.root, "var/lib/dpkg") as place:
        return build_trees.key_of(hostile_tree.checksum(place, "status"), *words)


def compare(job: Job, done: Attempt) -> None:
    """Say whether a clean build made the same. StageFailed where it did not."""
    job.second = done.directory
    job.log.section("Build clean")
    trials.copy_log(job, done)
    if done.made is None:
        job.summary.fields[FIELD] = "fail: the clean build did not succeed"
        assert done.failure is not None
        raise done.failure
    findings = Findings(job.title)
    with job.part(STAGE, Status.FAILED):
        twice.judge(job, done.made, findings, FIELD)
    if not findings.reproduced:
        worst = next(each.name for each in findings.artifacts if each.verdict is not Verdict.REPRODUCED)
        raise StageFailed(STAGE, Status.ATTEMPTED, f"A clean build makes another {worst}")
