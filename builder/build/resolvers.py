"""Installing the build dependencies: which program finds out which packages that takes.

apt        apt-get build-dep; the others are for what it does not find
aspcud     apt-get with an external solver, which takes any version of any of the archives
aptitude   with a solver of its own
null       nothing is installed: the base has what is needed, or the user's commands bring it
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from builder import hostile_tree
from builder.build import compiler_cache, cross, downloaded_packages
from builder.build.extra_repositories import add_packages
from builder.build.job import BuildOptions, Job
from builder.debian import apt, depends
from builder.debian.depends import WantedPackages
from builder.problems import Problem
from builder.process import output

NAME = "cowbuild-build-depends"

PLACE = "/var/tmp"

FAILURE = "The build dependencies cannot be installed"

# Of what the solver may choose from, nothing is left out by pins: sbuild's words (AspcudResolver.pm).
SOLVER = (
    *("--solver", "aspcud", "-o", "APT::Solver::Strict-Pinning=false"),
    *("-o", "APT::Solver::aspcud::Preferences={criteria}"),
)

# sbuild's words (AptitudeResolver.pm): any version may be taken, and to leave the wanted out is no solution.
APTITUDE = (
    *("aptitude", "-y", "--without-recommends", "-o", "Dpkg::Options::=--force-confold"),
    *("-o", "Aptitude::CmdLine::Ignore-Trust-Violations=false", "-o", "Aptitude::ProblemResolver::StepScore=100"),
    *("-o", "Aptitude::ProblemResolver::SolutionCost=safety, priority, non-default-versions"),
    *("-o", f"Aptitude::ProblemResolver::Hints::KeepDummy=reject {NAME} :UNINST"),
    *("-o", "Aptitude::ProblemResolver::Keep-All-Level=55000"),
    *("-o", "Aptitude::ProblemResolver::Remove-Essential-Level=maximum"),
)


def wanted(job: Job) -> WantedPackages:
    """The build dependencies and conflicts, as the source and the user have them."""
    options = job.options
    choice = depends.Choice(
        architecture=job.architecture,
        build_any=options.build_any,
        build_all=options.build_all,
        profiles=frozenset(options.profiles),
        all_alternatives=options.resolve_alternatives,
    )
    added = [*options.add_depends, *(cross.dependencies(options.host) if options.host else [])]
    added += compiler_cache.dependencies(options)
    conflicts = [*options.add_conflicts]
    if options.build_any:
        added += options.add_depends_arch
        conflicts += options.add_conflicts_arch
    if options.build_all:
        added += options.add_depends_indep
        conflicts += options.add_conflicts_indep
    return depends.requested(job.source, choice, add_depends=added, add_conflicts=conflicts).without(job.left_out)


def key(options: BuildOptions) -> tuple[str, ...]:
    """What a dependency layer's key has besides the relations."""
    if options.resolver == "apt":
        return ()
    return (f"resolver: {options.resolver} {options.aspcud_criteria if options.resolver == 'aspcud' else ''}",)


def install(job: Job, request: WantedPackages) -> None:
    """Install what is wanted into the open session. Problem when it cannot be."""
    match job.options.resolver:
        case "null":
            job.log.line("Nothing is installed: the resolver is null.")
        case "aptitude":
            job.session.apt_get("install", "aptitude")
            _install_by_aptitude(job, request)
        case "aspcud":
            job.session.apt_get("install", "apt-cudf", "aspcud")
            _install_by_aspcud(job, request)
        case _:
            _install_by_apt(job, request)


@contextmanager
def reason_told(job: Job, failure: str) -> Iterator[None]:
    """While apt-get runs in the session: where it fails, the Problem says `failure`, and why."""
    with job.log.heard() as said:
        try:
            yield
        except Problem:
            raise Problem(f"{failure}: {apt.unmet(said.decode(errors='replace'))}") from None


def _install_by_apt(job: Job, request: WantedPackages) -> None:
    name = "build-depends.dsc"
    described = job.directory / name
    described.write_text(request.as_dsc())
    with hostile_tree.directory(job.session.root, PLACE.lstrip("/")) as place:
        hostile_tree.copy_in(described, place, name)
    step = ("build-dep", f"--host-architecture={job.architecture}", f"{PLACE}/{name}")
    with downloaded_packages.shared(job, step) as kept, reason_told(job, FAILURE):
        job.session.apt_get(*kept, *step)
    with hostile_tree.directory(job.session.root, PLACE.lstrip("/")) as place:
        os.unlink(name, dir_fd=place)


def _install_by_aspcud(job: Job, request: WantedPackages) -> None:
    _make_package(job, request)
    criteria = [word.format(criteria=job.options.aspcud_criteria) for word in SOLVER]
    with reason_told(job, FAILURE):
        job.session.apt_get(*criteria, "install", NAME)


def _install_by_aptitude(job: Job, request: WantedPackages) -> None:
    _make_package(job, request)
    with job.log.heard() as said:
        words = (*APTITUDE, *job.session.proxy_options(), "install", NAME)
        code = job.session.call(*words, network=True, environment=apt.ENVIRONMENT)
    text = said.decode(errors="replace")
    if code != 0 or re.search("^E:", text, re.MULTILINE):
        reasons = [" ".join(line.split()) for line in text.splitlines() if " Depends: " in line]
        reason = "; ".join(reasons[:3]) or apt.why(text)
        raise Problem(f"{FAILURE}: {reason}")


def _make_package(job: Job, request: WantedPackages) -> None:
    """These two know packages only: one is made that depends on what is wanted, and apt is told of it."""
    made = job.directory / NAME
    (made / "DEBIAN").mkdir(parents=True)
    (made / "DEBIAN/control").write_text(stanza(job, request))
    output(["dpkg-deb", "--root-owner-group", "--build", made])
    add_packages(job.session, [made.with_suffix(".deb")])


def stanza(job: Job, request: WantedPackages) -> str:
    """A binary package with these relations, as dpkg's and apt's lists have one."""
    lines = [
        f"Package: {NAME}",
        "Version: 1",
        f"Architecture: {job.architecture}",
        "Maintainer: cowbuild <cowbuild@localhost>",
        f"Depends: {_of_package(job, request.depends)}",
        *([f"Conflicts: {_of_package(job, request.conflicts)}"] if request.conflicts else []),
        "Description: build dependencies",
    ]
    return "\n".join(lines) + "\n"


def _of_package(job: Job, relations: str) -> str:
    """A binary package's relations name architectures, not `native`."""
    return relations.replace(":native", "" if job.options.host is None else f":{job.build_architecture}")
