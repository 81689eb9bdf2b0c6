"""The page on what was found, as a browser shows it."""

from __future__ import annotations

from pathlib import Path

from builder.verdict.findings import Artifact, Findings, Trial, Verdict
from builder.verdict.page import page
from tests.builder.browser import PHONE, first_cells, shown, width_on_a_phone

HOSTILE = "<script>document.title = 'no'</script>"


def test_the_page_tells_verdicts_and_variations_and_runs_nothing_of_a_builds(tmp_path: Path) -> None:
    findings = Findings(f"tiny 1 {HOSTILE}", varied=("umask", "time"), sets=[("umask",)], notes=["a note"])
    findings.artifacts = [
        Artifact("a_1_all.deb", Verdict.REPRODUCED, 10, "a" * 64, 10, "a" * 64),
        Artifact("b_1_all.deb", Verdict.DIFFERENT, 2000, "b" * 64, 3, "c" * 64, "b+%.html", f"-{HOSTILE}\n+x"),
        Artifact("c_1_all.deb", Verdict.MISSING, 300, "d" * 64),
    ]
    findings.trials = [
        Trial(()),
        Trial(("umask",), ("b_1_all.deb",), f"-{HOSTILE}"),
        Trial(("time",), failed="it failed"),
    ]
    path = tmp_path / "x.html"
    path.write_text(page(findings))
    document = shown(path, "#sort=artifact-size-down")
    assert "<title>Whether tiny 1 &lt;script&gt;" in document
    assert first_cells(document, "artifact") == ["b_1_all.deb", "c_1_all.deb", "a_1_all.deb"]
    assert first_cells(document, "trial") == ["none", "umask", "time"]
    assert document.count("<details>") == 2
    assert 'href="b%2B%25.html"' in document
    assert "It depends on: umask." in document
    # The longest words are broken, and no table is wider than a phone.
    assert width_on_a_phone(path) <= PHONE
    assert "It is not: not everything was made again" in document
