"""The wheel holds all that the commands need, wherever it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_both_commands_start_from_an_installed_wheel(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True, capture_output=True)
    [wheel] = tmp_path.glob("cowfs-*.whl")
    place = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", place, wheel], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"}
    for name in ("cowfs", "cowbuild"):
        helped = subprocess.check_output([place / "bin" / name, "--help"], cwd="/", env=environment, text=True)
        assert helped.startswith(f"usage: {name} ")
    find = "import builder, cowfs; print(builder.__file__, cowfs.__file__)"
    found = subprocess.check_output([sys.executable, "-c", find], cwd="/", env=environment, text=True)
    assert found.split() == [str(place / package / "__init__.py") for package in ("builder", "cowfs")]
    for data in (path for package in ("builder", "cowfs") for path in (ROOT / package).rglob("*")):
        if data.is_file() and "__pycache__" not in data.parts:
            assert (place / data.relative_to(ROOT)).read_bytes() == data.read_bytes()
