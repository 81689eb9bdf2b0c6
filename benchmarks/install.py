"""apt-get installs a large set of build dependencies in a chroot on each candidate, in turn: wall time.

    python -m benchmarks.install [--package mesa] [--rounds 5] [--candidates direct,overlayfs] [--json FILE]

Needs root and a disk: dpkg's fsync, which overlayfs passes on and its option volatile and cowfs do not, costs nothing
on a tmpfs. Base and layers lie on ext4 in files below --scratch, the layers' made anew for each round. The packages
are downloaded beforehand.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import report
from benchmarks.build import kernel_file_systems, make_base
from benchmarks.candidates import CANDIDATES, Mounted, in_a_namespace, mounted

ENVIRONMENT = {
    "PATH": os.defpath + ":/usr/sbin:/sbin",
    "HOME": "/root",
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
}


@contextmanager
def ext4(at: Path, gigabytes: int) -> Iterator[Path]:
    """A fresh ext4 in a sparse file, mounted beside it."""
    image, point = at.with_suffix(".ext4"), at
    point.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(gigabytes << 30)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", str(point)], check=True)
    finally:
        image.unlink()
        point.rmdir()


def install(at: Mounted, description: str) -> dict[str, float]:
    """Install what the .dsc in the base's root asks for. RuntimeError when packages are missing afterwards."""
    root = str(at.mountpoint)
    before = installed(root)
    command = ["apt-get", "-q", "build-dep", "-y", "--no-install-recommends", "--no-download", f"/{description}"]
    with kernel_file_systems(at.mountpoint):
        os.sync()
        started = time.monotonic()
        done = subprocess.run(["chroot", root, *command], env=ENVIRONMENT, capture_output=True, text=True, check=False)
        figures = {"apt-get install, s": time.monotonic() - started}
    audit = subprocess.run(["chroot", root, "dpkg", "--audit"], env=ENVIRONMENT, capture_output=True, check=True)
    figures["packages"] = float(installed(root) - before)
    if done.returncode or audit.stdout or not figures["packages"]:
        raise RuntimeError(f"apt-get failed: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return figures


def installed(root: str) -> int:
    command = ["chroot", root, "dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}\\n"]
    listed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return listed.stdout.split().count("ii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--package", default="mesa", help="whose build dependencies are installed")
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--candidates", default="direct,overlayfs,overlayfs-volatile")
    parser.add_argument("--cache", type=Path, default=Path(".cache").absolute())
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp/cowfs-bench"))
    parser.add_argument("--json", type=Path, help="where to keep every figure")
    options = parser.parse_args()
    in_a_namespace("benchmarks.install")
    cached, source = make_base(options.cache, options.package, options.suite, download_only=True)
    [description] = source.glob("*.dsc")
    rounds: report.Rounds = {}
    names = options.candidates.split(",")
    with ext4(options.scratch / "base", 6) as held:
        base = held / "base"
        subprocess.run(["cp", "-a", str(cached), str(base)], check=True)
        megabytes = sum(path.stat().st_size for path in base.glob("var/cache/apt/archives/*.deb")) / 1e6
        for number in range(options.rounds):
            for name in names:
                with ext4(options.scratch / "layers", 6) as layers:
                    with mounted(CANDIDATES[name], base, layers / name) as at:
                        figures = install(at, description.name)
                report.add(rounds, name, {**figures, "packages, MB": megabytes})
                print(f"round {number + 1}: {name} {figures['apt-get install, s']:.2f} s", file=sys.stderr)
    options.scratch.rmdir()
    print(report.table(rounds, "overlayfs" if "overlayfs" in names else names[-1]))
    if options.json:
        report.save(options.json, f"apt-get build-dep {options.package}", rounds)


if __name__ == "__main__":
    main()
