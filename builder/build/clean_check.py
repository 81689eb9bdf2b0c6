"""`--check-clean`: whether `debian/rules clean` leaves the source tree as the build found it.

The build tree is a directory of the session's own, of which no layer says what became of it; so what its files hold is
noted before the build and compared after the clean.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from builder import hostile_tree
from builder.build import buildpackage
from builder.build.job import Job
from builder.build.summary import StageFailed, Status
from builder.problems import Problem, printable
from builder.process import TimedOut

STAGE = "check-clean"

SHOWN = 200
"""Names of each kind in the log."""

Tree = Mapping[str, str]
"""Path of each file in the source tree -> what it is and holds. Directories are no part of a source package."""


@dataclass(frozen=True)
class Difference:
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]

    def __str__(self) -> str:
        kinds = {"new": self.new, "changed": self.changed, "gone": self.gone}
        return ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items() if names)


def difference(before: Tree, after: Tree) -> Difference:
    return Difference(
        new=tuple(sorted(after.keys() - before.keys())),
        changed=tuple(sorted(name for name in before.keys() & after.keys() if before[name] != after[name])),
        gone=tuple(sorted(before.keys() - after.keys())),
    )


def noted(job: Job) -> Tree:
    """The source tree as it is. OSError."""
    found, left = {}, [""]
    while left:
        inside = left.pop()
        with hostile_tree.directory(job.session.root, f"{job.build_directory}/{inside}".lstrip("/")) as place:
            for name in hostile_tree.names(place):
                path = f"{inside}{name}"
                if stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                    left.append(f"{path}/")
                else:
                    found[path] = _described(place, name)
    return found


def _described(place: int, name: str) -> str:
    mode = os.stat(name, dir_fd=place, follow_symlinks=False).st_mode
    if stat.S_ISLNK(mode):
        return f"link {os.readlink(name, dir_fd=place)}"
    if stat.S_ISREG(mode):
        executable = "x" if mode & stat.S_IXUSR else "-"
        return f"{executable} {hostile_tree.checksum(place, name)}"
    return stat.filemode(mode)


@contextmanager
def checked(job: Job) -> Iterator[None]:
    """Look at the tree before and after what is in here, and a clean. What was found: `judge`."""
    if not job.options.check_clean:
        yield
        return
    with job.part(STAGE, Status.FAILED):
        before = noted(job)
    yield
    job.log.section("Check clean")
    with job.part(STAGE, Status.FAILED):
        try:
            _clean(job)
        except (Problem, TimedOut) as problem:
            job.unclean = f"debian/rules clean does not succeed: {problem}"
        else:
            found = difference(before, noted(job))
            _show(job, found)
            job.unclean = f"{found}"
    job.summary.fields["Clean"] = f"fail: {job.unclean}" if job.unclean else "pass"


def _clean(job: Job) -> None:
    job.session.run(
        *buildpackage.command(job.options, job.surroundings),
        "--rules-target=clean",
        identity=job.session.builder,
        directory=job.build_directory,
        environment=buildpackage.variables(job.options, job.surroundings),
        time_limit=job.options.time_limit,
        silence_limit=job.options.silence_limit,
    )


def _show(job: Job, found: Difference) -> None:
    for kind, names in (("new", found.new), ("changed", found.changed), ("gone", found.gone)):
        for name in names[:SHOWN]:
            job.log.line(f"{kind:8} {printable(name)}")
        if len(names) > SHOWN:
            job.log.line(f"{kind:8} and {len(names) - SHOWN} more")
    if not f"{found}":
        job.log.line("After debian/rules clean the source tree is as it was before the build.")


def judge(job: Job) -> None:
    """StageFailed where the tree was not restored."""
    if job.unclean:
        told = job.unclean if "clean does" in job.unclean else f"debian/rules clean leaves the tree with {job.unclean}"
        raise StageFailed(STAGE, Status.ATTEMPTED, told)
