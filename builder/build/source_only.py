"""A .changes for an upload of the source alone, beside that of the build (sbuild's --source-only-changes)."""

from __future__ import annotations

from builder.build.job import Job

# The file is written as dpkg-genchanges prints it, beside the build's own.
MAKE = 'dpkg-genchanges --build=source "$@" > ../"$0"'


def add(job: Job) -> None:
    """Have it made in the session, and put it with the artifacts. Problem when it cannot be."""
    assert job.result is not None
    options = job.options
    words = [
        *([f"-m{options.rebuild.maintainer}"] if options.rebuild.maintainer else []),
        *([f"-e{options.uploader}"] if options.uploader else []),
        *(word for word in options.debbuild_options if word.startswith(("-v", "-C", "-sa", "-si", "-sd"))),
        *([f"-DDistribution={options.distribution}"] if options.says_distribution else []),
    ]
    version = job.made_stem.rpartition("_")[0]
    name = f"{version}_source.changes"
    job.session.run("sh", "-ec", MAKE, name, *words, identity=job.session.builder, directory=job.build_directory)
    job.result = job.result.with_text(job.session.root, job.place.lstrip("/"), name)
