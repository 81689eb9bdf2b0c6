"""What the tests' bases know of the archive: apt reads its lists in each session, and Debian's take it seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Names that tests install, and the build dependencies of what they build of the archive; the end is what tests are
# likely to want next. It costs nothing to add one, all bases learn it at their next use.
KNOWN = """
apt-cudf aptitude aspcud autodep8 autopkgtest build-essential ccache cmake debhelper devscripts dh-apparmor dh-python
dh-sequence-python3 dose-distcheck eatmydata fakeroot faketime fuse3 git gnupg hello help2man iproute2 libcjson-dev
libfaketime lintian man-db mmdebstrap pbuilder piuparts pkg-config pybuild-plugin-pyproject python3-all python3-debian
python3-h11 python3-hatchling python3-pyfuse3 python3-pytest python3-rich python3-setuptools python3-shtab python3-trio
quilt sbuild sccache schroot texinfo zlib1g-dev

autoconf automake bc bison bzip2 curl file flex gettext gperf intltool jq less libbz2-dev libcurl4-openssl-dev
libfuse3-dev libglib2.0-dev liblzma-dev libncurses-dev libssl-dev libtool libxml2-dev locales meson ninja-build procps
python3-dev rsync scons sudo tzdata unzip wget xsltproc xz-utils zip zstd
"""
"""What these need is known, too. Anything else is "Unable to locate", or "not installable"."""

CROSS = ["crossbuild-essential-arm64"]

_NEEDED = (
    *("--recurse", "--no-recommends", "--no-suggests", "--no-enhances"),
    *("--no-conflicts", "--no-breaks", "--no-replaces"),
)


def shorten(base: Path, whole: Path, architecture: str) -> None:
    """Leave in the lists of a base what it has installed, what is KNOWN, and what that needs.

    The lists as they were are kept in the directory `whole`; where that exists, it is begun with those.
    """
    place = base / "var/lib/apt/lists"
    if not whole.exists():
        begun = whole.with_name(f"{whole.name}.begun")
        begun.mkdir(exist_ok=True)
        for path in place.glob("*_Packages"):
            shutil.copy2(path, begun)
        begun.rename(whole)
    for path in whole.iterdir():
        _write(place / path.name, path, path.read_text())
    for path in (base / "var/cache/apt").glob("*.bin"):
        path.unlink()
    wanted = _wanted(base, architecture)
    for path in whole.iterdir():
        stanzas = path.read_text().removesuffix("\n").split("\n\n")
        kept = [each for each in stanzas if each.partition("\n")[0].removeprefix("Package: ") in wanted]
        _write(place / path.name, path, "".join(f"{each}\n\n" for each in kept))


def _write(path: Path, like: Path, text: str) -> None:
    """Its owner stays; its time is that of another."""
    path.write_text(text)
    times = like.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def _wanted(base: Path, architecture: str) -> set[str]:
    """Names of packages."""
    status = base / "var/lib/dpkg/status"
    lines = status.read_text().splitlines()
    installed = [line.removeprefix("Package: ") for line in lines if line.startswith("Package: ")]
    options = {
        "Dir": base,
        "Dir::State::status": status,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
    }
    command: list[str] = ["apt-cache", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    names = [*installed, *KNOWN.split(), *(CROSS if architecture == "amd64" else [])]
    listed = subprocess.check_output([*command, "depends", *_NEEDED, *names], stderr=subprocess.DEVNULL, text=True)
    return {line for line in listed.splitlines() if not line.startswith((" ", "<"))}
