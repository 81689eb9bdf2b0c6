"""A real package build in a chroot on each candidate, in turn: wall time, and for cowfs the requests.

    python -m benchmarks.build [--package hello] [--rounds 5] [--candidates direct,overlayfs] [--json FILE]

Needs root. The first run makes a base with the build dependencies in .cache/ by mmdebstrap and fetches the
source by apt. The base and all layers lie on a tmpfs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import report
from benchmarks.candidates import CANDIDATES, Mounted, in_a_namespace, mounted, scratch_tmpfs
from builder.apt import download_source
from cowfs.fuse.engine import NoStatisticsError, read_statistics

BUILDER = 1000
"""The user who builds, and his group: no one in particular."""

SCRIPT = """
set -e
cd /build
dpkg-source --no-check -x source/*.dsc tree >/dev/null
cd tree
dpkg-buildpackage -b -us -uc -j{jobs} >/build/log 2>&1
"""


def make_base(cache: Path, package: str, suite: str, *, download_only: bool = False) -> tuple[Path, Path]:
    """A directory tree with everything the package needs to build, and a directory with its source.

    `download_only`: what it needs is not installed but lies in apt's cache.
    """
    source, base = cache / f"bench-source-{package}", cache / f"bench-base-{suite}-{package}"
    extra = ""
    if download_only:
        base = base.with_name(base.name + "-downloaded")
        extra = "--download-only -o APT::Keep-Downloaded-Packages=true"
    if not source.exists():
        fetched = cache / f"{source.name}.partial"
        shutil.rmtree(fetched, ignore_errors=True)
        fetched.mkdir(parents=True)
        download_source(package, None, suite, fetched)
        fetched.rename(source)
    if not base.exists():
        made = cache / f"{base.name}.partial"
        shutil.rmtree(made, ignore_errors=True)
        description = next(source.glob("*.dsc"))
        install = f"apt-get -q update && apt-get -q build-dep -y --no-install-recommends {extra} /{description.name}"
        subprocess.run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", "--include=build-essential",
                f"--customize-hook=copy-in {description} /",
                f"--customize-hook=chroot \"$1\" sh -c '{install}'",
                *(["--skip=cleanup/apt"] if download_only else []),
                suite, str(made),
            ],
            check=True,
        )  # fmt: skip
        made.rename(base)
    return base, source


def build(at: Mounted, source: Path, jobs: int, *, seconds_limit: float = 1800) -> dict[str, float]:
    """Builds in the mounted base, as an ordinary user. Raises RuntimeError with the log's end if no .deb came out."""
    place = at.mountpoint / "build"
    place.mkdir()
    shutil.copytree(source, place / "source", ignore=shutil.ignore_patterns("apt"))
    for path in (place, *place.rglob("*")):
        os.chown(path, BUILDER, BUILDER)
    with kernel_file_systems(at.mountpoint):
        before = requests(at.mountpoint)
        started = time.monotonic()
        script = SCRIPT.format(jobs=jobs)
        command = ["chroot", f"--userspec={BUILDER}:{BUILDER}", str(at.mountpoint), "sh", "-c", script]
        environment = {"PATH": os.defpath + ":/usr/sbin:/sbin", "HOME": "/nonexistent", "LC_ALL": "C"}
        result = subprocess.run(command, env=environment, check=False, timeout=seconds_limit)
        figures = {"build, s": time.monotonic() - started}
        if result.returncode or not list(place.glob("*.deb")):
            log = (place / "log").read_text(errors="replace")
            raise RuntimeError(f"the build failed: {log[-2000:]}")
        if before:
            after = requests(at.mountpoint)
            figures["requests"] = float(sum(after.values()) - sum(before.values()))
            for name in sorted(after, key=lambda opcode: -after[opcode]):
                figures[f"  {name}"] = float(after[name] - before.get(name, 0))
        return figures


@contextmanager
def kernel_file_systems(root: Path) -> Iterator[None]:
    """/proc and /dev in a chroot."""
    for name in ("proc", "dev"):
        subprocess.run(["mount", "--rbind", "--make-rslave", f"/{name}", str(root / name)], check=True)
    try:
        yield
    finally:
        for name in ("proc", "dev"):
            subprocess.run(["umount", "--recursive", str(root / name)], check=True)


def requests(mountpoint: Path) -> dict[str, int]:
    """Requests by opcode; nothing for what is no cowfs."""
    try:
        by_opcode = read_statistics(mountpoint)["opcodes"]
    except NoStatisticsError:
        return {}
    return {name: int(numbers["requests"]) for name, numbers in by_opcode.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--package", default="hello")
    parser.add_argument("--suite", default="bookworm")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--candidates", default="direct,pyfuse3,overlayfs,fuse-overlayfs")
    parser.add_argument("--cache", type=Path, default=Path(".cache").absolute())
    parser.add_argument("--scratch", type=Path, default=Path("/tmp/cowfs-bench"))
    parser.add_argument("--json", type=Path, help="where to keep every figure")
    options = parser.parse_args()
    in_a_namespace("benchmarks.build")
    cached, source = make_base(options.cache, options.package, options.suite)
    rounds: report.Rounds = {}
    names = options.candidates.split(",")
    with scratch_tmpfs(options.scratch, "90%") as scratch:
        base = scratch / "base"
        subprocess.run(["cp", "-a", str(cached), str(base)], check=True)
        for number in range(options.rounds):
            for name in names:
                with mounted(CANDIDATES[name], base, scratch / f"{number}{name}") as at:
                    figures = build(at, source, options.jobs)
                report.add(rounds, name, figures)
                print(f"round {number + 1}: {name} {figures['build, s']:.2f} s", file=sys.stderr)
    print(report.table(rounds, "overlayfs" if "overlayfs" in names else names[-1]))
    if options.json:
        report.save(options.json, f"build of {options.package}", rounds)


if __name__ == "__main__":
    main()
