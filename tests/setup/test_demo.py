"""`make demo` where a mirror lacks a package."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.debian import apt
from builder.problems import Problem
from setup import demo


@pytest.mark.parametrize("had", [0, 1, len(demo.PACKAGES)])
def test_the_demo_takes_the_first_package_that_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], had: int
) -> None:
    def download(name: str, _version: None, _suite: str, directory: Path) -> Path:
        if demo.PACKAGES.index(name) < had:
            raise Problem(f"Cannot fetch {name}", "404")
        return directory / f"{name}.dsc"

    monkeypatch.setattr(apt, "download_source", download)
    if had == len(demo.PACKAGES):
        with pytest.raises(Problem, match=demo.PACKAGES[0]):
            demo.fetch("sid", tmp_path)
        return
    name, dsc = demo.fetch("sid", tmp_path)
    assert (name, dsc.name) == (demo.PACKAGES[had], f"{name}.dsc")
    assert (f"Taking {name} instead of hello" in capsys.readouterr().out) == (had > 0)
