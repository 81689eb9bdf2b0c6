"""Why build dependencies cannot be installed, said by a program that looks at all that the archives have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from builder import hostile_tree
from builder.build import resolvers
from builder.build.job import Job
from builder.build.summary import StageFailed
from builder.problems import Problem

# All that apt knows, and one package more, which depends on what the build wants: sbuild's own way (Build.pm). Where
# two architectures are installed from, an essential package of the other one is no way out.
DOSE = """
{ cat "$1"; echo; apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages' |
    xargs -r -d '\\n' -n 1 /usr/lib/apt/apt-helper cat-file; } |
    awk -v own="$2" 'BEGIN { RS = ""; ORS = "\\n\\n" }
        !(/\\n(Essential: yes|Multi-Arch: foreign)/ && $0 !~ "\\nArchitecture: (all|" own ")(\\n|$)")' |
    dose-debcheck --checkonly "$3" --verbose --failures --successes --explain --deb-native-arch "$2" $4
"""

APT = (
    *("--simulate", "-o", "Debug::pkgProblemResolver=true", "-o", "Debug::pkgDepCache::Marker=1"),
    *("-o", "Debug::pkgDepCache::AutoInstall=1", "-o", "Debug::BuildDeps=1"),
)

# dose-debcheck(1): more are its own failures.
LAST_VERDICT = 63


@contextmanager
def explained(job: Job) -> Iterator[None]:
    """When what is in here fails to install the dependencies, the program that was asked for says why, into the log."""
    try:
        yield
    except StageFailed:
        if job.options.explainer:
            job.log.line(f"\nWhy, says {job.options.explainer}:")
            try:
                _explain(job)
            except Problem as problem:
                job.log.line(f"E: {problem}")
        raise


def _explain(job: Job) -> None:
    if job.options.explainer == "apt":
        name = f"{resolvers.PLACE}/build-depends.dsc"
        job.session.apt_get(*APT, "build-dep", f"--host-architecture={job.architecture}", name)
        return
    job.session.apt_get("install", "dose-distcheck")
    described = job.directory / "wanted-package"
    described.write_text(resolvers.stanza(job, job.wanted or resolvers.wanted(job)))
    with hostile_tree.directory(job.session.root, resolvers.PLACE.lstrip("/")) as place:
        hostile_tree.copy_in(described, place, described.name)
    foreign = f"--deb-foreign-archs {job.architecture}" if job.options.host else ""
    checked = f"{resolvers.NAME}:{job.architecture}"
    words = (f"{resolvers.PLACE}/{described.name}", job.build_architecture, checked, foreign)
    if (code := job.session.call("sh", "-c", DOSE, "dose", *words)) > LAST_VERDICT:
        raise Problem(f"dose-debcheck failed with exit code {code}")
