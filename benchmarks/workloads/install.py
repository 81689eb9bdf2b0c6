"""apt-get installs a large set of build dependencies in a chroot, on a disk.

dpkg's fsync, which overlayfs passes on and its option volatile and cowfs do not, costs nothing on a tmpfs. The
packages lie in apt's cache beforehand.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from benchmarks.bench import Bench, Task
from benchmarks.inputs import package_base
from benchmarks.results import Figures
from benchmarks.workloads.build import kernel_file_systems

OVERLAYS = ("overlayfs", "overlayfs-volatile", "fuse-overlayfs")
NAMES = ("cowfs", "cowfs-device", *OVERLAYS, "copy", "lvm-classic", "lvm-thin")

ENVIRONMENT = {
    "PATH": os.defpath + ":/usr/sbin:/sbin",
    "HOME": "/root",
    "LC_ALL": "C",
    "DEBIAN_FRONTEND": "noninteractive",
}


def run(bench: Bench, package: str) -> None:
    cached, source = package_base(bench.cache, package, bench.suite, download_only=True)
    [description] = source.glob("*.dsc")
    megabytes = sum(path.stat().st_size for path in cached.glob("var/cache/apt/archives/*.deb")) / 1e6
    bench.results.details |= {"dependencies of": description.stem, "packages, MB": round(megabytes, 1)}

    def make_base(base: Path) -> None:
        subprocess.run(["cp", "-a", str(cached), str(base)], check=True)

    def measure(task: Task) -> Figures:
        with task.candidate.session(task.base, task.place) as session:
            return install(session.root, description.name)

    bench.over_a_base({"ext4": NAMES, "btrfs": ["btrfs-snapshot"]}, make_base, measure)


def install(root: Path, description: str) -> Figures:
    """Install what the .dsc in the base's root asks for. RuntimeError when packages are missing afterwards."""
    before = installed(root)
    command = ["apt-get", "-q", "build-dep", "-y", "--no-install-recommends", "--no-download", f"/{description}"]
    with kernel_file_systems(root):
        started = time.monotonic()
        whole = ["chroot", str(root), *command]
        done = subprocess.run(whole, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        figures = {"apt-get install, s": time.monotonic() - started}
    audit = subprocess.run(["chroot", str(root), "dpkg", "--audit"], env=ENVIRONMENT, capture_output=True, check=True)
    figures["packages"] = float(installed(root) - before)
    if done.returncode or audit.stdout or not figures["packages"]:
        raise RuntimeError(f"apt-get failed: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return figures


def installed(root: Path) -> int:
    command = ["chroot", str(root), "dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}\\n"]
    listed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return listed.stdout.split().count("ii")
