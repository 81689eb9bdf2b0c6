"""What comparing builds found, written beside the artifacts: as JSON and as a page."""

from __future__ import annotations

import json

from builder.build import outputs
from builder.build.job import Job
from builder.verdict import page
from builder.verdict.findings import Findings

# What is in the first lines of each report.
MARKS = {"json": b'{\n "package": "', "html": b"<title>Whether "}


def write(job: Job, findings: Findings, kind: str) -> None:
    """Write NAME.KIND.json and NAME.KIND.html. Problem."""
    documents = {"json": json.dumps(findings.as_json(), indent=1) + "\n", "html": page.page(findings)}
    for ending, text in documents.items():
        wanted = job.options.output / f"{job.stem}.{kind}.{ending}"
        job.log.line(f"Written: {outputs.put_text(text, wanted, mark=MARKS[ending])}")
