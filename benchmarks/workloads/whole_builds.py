"""Whole builds, as users type them: from the command to its end, the packages made, by each of the usual programs.

Each is set up as its manual says, on one file system made for it, and has its own cache of packages; a first build
by each, which is not measured, fills those. As a plain user where the program lets one.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.builders import BUILDERS
from benchmarks.builders.interface import UID, USER, Builder, Machine
from benchmarks.grounds import ground, settle
from benchmarks.inputs import package_source
from benchmarks.results import Figures, say
from builder.debian.apt import machine_archives

TITLE = "Whole builds, as users type them: from the command to its end"
SECONDS = 3600

PACKAGES = ("hello", "xfce4-calculator-plugin")
"""One that needs debhelper alone, and a small one that needs GTK, which brings more than a hundred packages."""
JOBS = 2
FIGURE = "whole build, s"
FIRST_LINE = "to dpkg-buildpackage, s"

# The machine's own are not changed: what is mounted here is seen by the benchmark alone, and goes with it.
AS_A_MACHINE = """
set -e
ground=$1 user=$2 uid=$3
mkdir -p "$ground/etc" "$ground/home" "$ground/root" "$ground/tmp"
chmod 1777 "$ground/tmp"
chown "$uid:$uid" "$ground/home"
for file in passwd group; do cp "/etc/$file" "$ground/etc/$file"; done
echo "$user:x:$uid:$uid::$ground/home:/bin/sh" >> "$ground/etc/passwd"
echo "$user:x:$uid:" >> "$ground/etc/group"
sed -i "s/^sbuild:.*[^:]$/&,$user/; s/^sbuild:.*:$/&$user/" "$ground/etc/group"
echo "$user:300000:65536" | tee "$ground/etc/subuid" > "$ground/etc/subgid"
for file in passwd group subuid subgid; do mount --bind "$ground/etc/$file" "/etc/$file"; done
for directory in /var/lib/schroot /var/lib/sbuild /etc/schroot; do
    [ -d "$directory" ] || continue
    mkdir -p "$ground/machine$directory"
    cp -a "$directory/." "$ground/machine$directory"
    mount --bind "$ground/machine$directory" "$directory"
done
mkdir "$ground/dev"
mount -t tmpfs -o mode=755 tmpfs "$ground/dev"
mknod -m 666 "$ground/dev/fuse" c 10 229 && mount --bind "$ground/dev/fuse" /dev/fuse
[ ! -e /dev/net/tun ] || { mknod -m 666 "$ground/dev/tun" c 10 200 && mount --bind "$ground/dev/tun" /dev/net/tun; }
"""

AS_IT_WAS = """
for path in /dev/net/tun /dev/fuse /etc/schroot /var/lib/sbuild /var/lib/schroot /etc/subgid /etc/subuid \\
    /etc/group /etc/passwd "$1/dev"; do
    umount -n --lazy "$path" 2>/dev/null
done
true
"""


def run(bench: Bench, packages: tuple[str, ...] = PACKAGES) -> None:
    """Every builder that there is builds each package once for its caches, then in turn."""
    packages = packages[:1] if bench.quick else packages
    sources = {name: package_source(bench.cache, name, bench.suite) for name in packages}
    bench.results.details |= {"packages": ", ".join(next(s.glob("*.dsc")).stem for s in sources.values()), "jobs": JOBS}
    with ground("ext4", bench.scratch / "whole-builds") as here, _machine(here, bench.suite) as machine:
        builders = [each for each in BUILDERS.values() if not bench.only or each.name in bench.only]
        for package, source in sources.items():
            # A copy that the plain user can read, too.
            subprocess.run(["cp", "-r", str(source), str(here / package)], check=True)
            subprocess.run(["chmod", "-R", "a+rX", str(here / package)], check=True)
        for builder in builders:
            _prepare(bench, machine, builder, packages)
        labels = {f"{each.name}: {package}": (each, package) for package in packages for each in builders}

        def one(label: str, number: int) -> None:
            builder, package = labels[label]
            if builder.name in bench.results.left_out.get(package, {}):
                return
            try:
                figures = _build(machine, builder, package)
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                _leave_out(bench, builder, package, f"failed in round {number + 1}: {error}")
                return
            bench.results.add(package, builder.name, figures)
            say(f"  round {number + 1}: {label}: {figures[FIGURE]:.1f} s")

        bench.in_turn(list(labels), one)


def _prepare(bench: Bench, machine: Machine, builder: Builder, packages: tuple[str, ...]) -> None:
    """Set a builder up, and have its caches filled."""
    reason = builder.why_not()
    try:
        if reason is None:
            say(f"  setting up {builder.name}")
            builder.set_up(machine)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = f"cannot be set up: {error}"
    for package in packages:
        if reason is not None:
            _leave_out(bench, builder, package, reason)
            continue
        try:
            _build(machine, builder, package)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            _leave_out(bench, builder, package, f"failed at its first build: {error}")


def _leave_out(bench: Bench, builder: Builder, package: str, reason: str) -> None:
    bench.failed |= builder.name.startswith("cowbuild")
    lines = reason.strip().splitlines()
    bench.results.leave_out(package, builder.name, " ".join([lines[0][:200], *lines[-1:][:200]]))


def _build(machine: Machine, builder: Builder, package: str) -> Figures:
    """A build's figures. RuntimeError if it made no package."""
    [dsc] = (machine.ground / package).glob("*.dsc")
    output = machine.home / "output"
    output.mkdir()
    subprocess.run(["chown", f"{UID}:{UID}", str(output)], check=True)
    try:
        builder.before(machine)
        settle()
        started = time.monotonic()
        begun = builder.build(machine, dsc, output)
        figures = {FIGURE: time.monotonic() - started}
        if begun is not None:
            figures[FIRST_LINE] = begun
        made = [path for path in output.glob("*.deb") if "-dbgsym" not in path.name]
        if not made:
            raise RuntimeError(f"{builder.name} made no package of {package}")
        for path in made:
            subprocess.run(["dpkg-deb", "--info", str(path)], stdout=subprocess.DEVNULL, check=True)
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(output)], check=True)
    return figures


@contextmanager
def _machine(here: Path, suite: str) -> Iterator[Machine]:
    """The machine with a plain user more; his directories and the builders' are on the file system at `here`."""
    [mirror] = [each.uri for each in machine_archives() if each.label == "Debian" and each.release == suite]
    try:
        subprocess.run(["sh", "-c", AS_A_MACHINE, "as-a-machine", str(here), USER, str(UID)], check=True)
        yield Machine(here, suite, mirror, JOBS)
    finally:
        subprocess.run(["sh", "-c", AS_IT_WAS, "as-it-was", str(here)], check=True)
