"""What the tests' bases know of the archive: apt reads its lists in each session, and Debian's take it seconds."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

KNOWN = (
    *("build-essential", "ccache", "debhelper", "devscripts", "eatmydata", "fakeroot", "hello", "quilt", "zlib1g-dev"),
    *("apt-cudf", "aptitude", "aspcud", "autopkgtest", "faketime", "lintian", "pbuilder", "piuparts", "sbuild"),
    "sccache",
    *("autodep8", "dose-distcheck", "git", "gnupg", "libfaketime", "man-db", "pkg-config", "schroot"),
    # What test_archive.py builds, and needs for it.
    *("cmake", "dh-python", "libcjson-dev", "pybuild-plugin-pyproject", "python3-all", "python3-h11"),
    *("python3-pytest", "python3-setuptools"),
    # debian/control's.
    *(
        "dh-apparmor",
        "dh-sequence-python3",
        "fuse3",
        "help2man",
        "iproute2",
        "mmdebstrap",
        "python3-debian",
        "python3-hatchling",
    ),
    *("python3-pyfuse3", "python3-rich", "python3-shtab", "python3-trio"),
)
"""What tests install, by name; what these need is known, too. Another is "Unable to locate" until it is in here."""

CROSS = ("crossbuild-essential-arm64",)

_NEEDED = (
    *("--recurse", "--no-recommends", "--no-suggests", "--no-enhances"),
    *("--no-conflicts", "--no-breaks", "--no-replaces"),
)


def shorten(base: Path, architecture: str) -> None:
    """Leave in the lists of a base what it has installed, what is KNOWN, and what that needs."""
    status = (base / "var/lib/dpkg/status").read_text()
    installed = [line.removeprefix("Package: ") for line in status.splitlines() if line.startswith("Package: ")]
    options = {
        "Dir": base,
        "Dir::State::status": base / "var/lib/dpkg/status",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
    }
    command: list[str] = ["apt-cache", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    cross = CROSS if architecture == "amd64" else ()
    listed = subprocess.check_output([*command, "depends", *_NEEDED, *installed, *KNOWN, *cross], text=True)
    wanted = {line for line in listed.splitlines() if not line.startswith((" ", "<"))}
    for path in (base / "var/cache/apt").glob("*.bin"):
        path.unlink()
    for path in (base / "var/lib/apt/lists").glob("*_Packages"):
        state = path.stat()
        stanzas = path.read_text().removesuffix("\n").split("\n\n")
        kept = [each for each in stanzas if each.partition("\n")[0].removeprefix("Package: ") in wanted]
        path.write_text("".join(f"{each}\n\n" for each in kept))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
