"""A directory that is taken for a Debian system."""

from __future__ import annotations

from pathlib import Path


def debian_tree(place: Path, suite: str = "bookworm") -> Path:
    for directory in ("var/lib/dpkg", "usr/lib", "etc/apt"):
        (place / directory).mkdir(parents=True)
    (place / "var/lib/dpkg/status").write_text(
        "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n"
    )
    (place / "usr/lib/os-release").write_text(f"VERSION_CODENAME={suite}\n")
    (place / "etc/apt/sources.list").write_text(f"deb http://localhost/debian {suite} main\n")
    return place
