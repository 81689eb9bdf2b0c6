"""What apt in a session knows: the base's archives, those added, another architecture's, and the user's packages."""

from __future__ import annotations

import time

from builder.build import extra_repositories
from builder.build.job import Job
from builder.build.summary import Status
from builder.debian import apt, base_facts
from builder.log import timestamp
from builder.problems import Problem

REPOSITORY_HINT = """\
What apt says of it is above. A repository's key: --extra-repository-key FILE
Believe one without a signature: --extra-repository 'deb [trusted=yes] URI SUITE COMPONENT...'"""


def is_wanted(job: Job) -> bool:
    """Whether there is anything to do."""
    options = job.options
    added = options.extra_repositories or options.extra_packages or _adds_architecture(job)
    return bool(options.apt_update is not False or options.apt_upgrade or added)


def _adds_architecture(job: Job) -> bool:
    options = job.options
    return options.host is not None and options.host not in base_facts.foreign_architectures(options.base)


def bring_up_to_date(job: Job) -> None:
    """Make the archives asked for known in the open session, and upgrade it where that is wanted."""
    options = job.options
    adds_architecture = _adds_architecture(job)
    if options.extra_repositories:
        with job.part("add-repositories", Status.GIVEN_BACK):
            extra_repositories.add_repositories(job.session, options.extra_repositories, options.extra_keys)
    if adds_architecture:
        with job.part("add-architecture", Status.GIVEN_BACK):
            job.session.run("dpkg", "--add-architecture", job.architecture)
    # The base knows no packages of an architecture that it did not have.
    adds = bool(options.extra_repositories) or adds_architecture
    asked = None if adds or options.apt_update else base_facts.lists_asked(options.base)
    if options.apt_update is None and asked is not None and 0 <= time.time() - asked < options.apt_update_age:
        age = f"{options.apt_update_age:.0f} seconds"
        job.log.line(f"apt-get update: not needed, the base's lists are of {timestamp(asked)}, at most {age} old")
    elif options.apt_update is not False or adds:
        with job.part("apt-get-update", Status.GIVEN_BACK):
            with job.log.heard() as said:
                try:
                    job.session.apt_get("update")
                except Problem:
                    reason = apt.why(said.decode(errors="replace"))
                    hint = REPOSITORY_HINT if options.extra_repositories and reason == apt.NOT_SIGNED else ""
                    raise Problem(f"The archives' lists cannot be had: {reason}", hint) from None
    if options.apt_upgrade:
        with job.part("apt-get-dist-upgrade", Status.GIVEN_BACK):
            job.session.apt_get("dist-upgrade")
    if options.extra_packages:
        with job.part("add-packages", Status.GIVEN_BACK):
            extra_repositories.add_packages(job.session, options.extra_packages)
