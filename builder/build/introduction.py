"""What a build's log begins with: what is built, for what, over which base."""

from __future__ import annotations

from builder import user_namespace
from builder.build.job import Job
from builder.debian import architectures, base_facts
from builder.log import timestamp
from cowfs import __version__


def show(job: Job) -> None:
    package, options = job.source, job.options
    job.log.line(f"cowbuild (cowfs {__version__})\n")
    job.log.title(job.title, timestamp(job.summary.started))
    fields = {
        "Package": package.name,
        "Version": package.version,
        "Source-Version": package.version,
        "Distribution": job.distribution,
        "Machine Architecture": architectures.machine(),
        "Host Architecture": job.architecture,
        "Build Architecture": job.build_architecture,
        "Foreign Architectures": " ".join(_foreign_architectures(job)),
        "Build Type": options.build_type,
        "Build Profiles": " ".join(options.profiles),
        "Job": str(package.dsc),
    }
    job.summary.fields.update({name: text for name, text in fields.items() if text})
    for name in ("Package", "Version", "Distribution", "Host Architecture", "Build Architecture", "Build Type"):
        job.log.line(f"{name}: {fields[name]}")
    job.log.line(f"Base: {options.base}")
    for note in options.notes:
        job.log.line(f"W: {note}")
    if options.namespace_refused:
        job.log.line(user_namespace.without_namespace(options.namespace_refused))


def _foreign_architectures(job: Job) -> list[str]:
    own = base_facts.foreign_architectures(job.options.base)
    return own if job.options.host in (None, *own) else [*own, job.architecture]
