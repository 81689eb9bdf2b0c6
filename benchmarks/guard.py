"""Counts the requests of cowfs for workloads that are always the same, and fails when one needs more than it did.

    python -m benchmarks.guard [--update-baseline]

Times differ with the machine and what else it does; the number of requests differs with the code only, and with the
kernel. Needs root and a Debian base, in which all is done with one process at a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from benchmarks import project
from benchmarks.candidates import CANDIDATES
from benchmarks.grounds import ground
from benchmarks.inputs import debian
from benchmarks.isolation import alone, in_a_namespace
from benchmarks.requests import requests, since
from benchmarks.results import machine, say
from benchmarks.workloads.build import plain_directories
from builder.debian.apt import machine_suite

BASELINE = Path(__file__).with_name("baseline.json")
TOLERATED = 1.03
TRIES = 4

DIRECTORIES, FILES = 40, 50
"""Of the made-up tree."""

CONTROL = """Package: cowfs-guard
Version: 1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: a tree to be installed
"""

Counts = dict[str, int]


class Workload(NamedTuple):
    script: str
    """Run by a shell in the session's root."""
    proof: str
    """Run afterwards, and not counted: fails when the script had not its effect."""
    plain: bool = False
    """With the plain directories /build and /tmp of a session of cowbuild."""


WORKLOADS = {
    "find": Workload("find / -xdev -size -1 -printf ''; find / -xdev -name none", "test -d /guard/tree"),
    "untar": Workload("tar -xf /guard/tree.tar -C /mnt", "diff -r /guard/tree /mnt"),
    "remove": Workload("rm -rf /guard/tree", "test ! -e /guard/tree"),
    "change": Workload(
        "cp -a /guard/tree /guard/copy; chmod -R g+w /guard/tree; mv /guard/tree /guard/moved; "
        "for file in /guard/moved/*/f0*; do echo more >> $file; done",
        "test -w /guard/moved/d00/f00 && tail -n 1 /guard/moved/d39/f09 | grep -qx more",
    ),
    "install": Workload("dpkg -i /guard/package.deb >/dev/null", "test -e /usr/share/guard/d39/f49"),
    "compile": Workload("make -s -C /guard/project -j1", "/guard/project/project"),
    "build": Workload(
        "cp -r /guard/project /build; make -s -C /build/project -j1", "/build/project/project", plain=True
    ),
}


def make_base(source: Path, base: Path) -> None:
    """The Debian base with what the workloads work on: a tree, an archive of it, a package of it, a C project."""
    subprocess.run(["cp", "-a", str(source), str(base)], check=True)
    tree = base / "guard/tree"
    for directory in range(DIRECTORIES):
        folder = tree / f"d{directory:02}"
        folder.mkdir(parents=True)
        for file in range(FILES):
            (folder / f"f{file:02}").write_bytes(b"content of a small file\n" * (file * 8))
    project.write(base / "guard/project")
    archive = ["tar", "--create", "--sort=name", "--mtime=@0", "--file", str(base / "guard/tree.tar")]
    subprocess.run([*archive, "--directory", str(tree), "."], check=True)
    package = base / "guard/package"
    (package / "DEBIAN").mkdir(parents=True)
    (package / "DEBIAN/control").write_text(CONTROL)
    (package / "usr/share").mkdir(parents=True)
    subprocess.run(["cp", "-a", str(tree), str(package / "usr/share/guard")], check=True)
    pack = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(package), str(base / "guard/package.deb")]
    subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)


def count(base: Path, place: Path, workload: Workload) -> Counts:
    """The requests of one workload in a mount of its own."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    with ExitStack() as stack:
        session = stack.enter_context(CANDIDATES["cowfs"].session(base, place))
        if workload.plain:
            (session.root / "build").mkdir()
            stack.enter_context(plain_directories(session))
        before = requests(session.root)
        session.run("sh", "-e", "-c", workload.script, chroot=[], environment=environment)
        counts = since(before, requests(session.root))
        session.run("sh", "-e", "-c", workload.proof, chroot=[], environment=environment)
        return counts


def fewest(base: Path, place: Path, workload: Workload, enough: float) -> Counts:
    """The least of some tries, at once when `enough`: whoever empties the kernel's caches meanwhile adds requests."""
    tries: list[Counts] = []
    while len(tries) < TRIES and (not tries or sum(tries[-1].values()) > enough):
        tries.append(count(base, place.with_name(f"{place.name}{len(tries)}"), workload))
    return min(tries, key=lambda counts: sum(counts.values()))


def grown(baseline: dict[str, Counts], counted: dict[str, Counts]) -> list[str]:
    """A line for each workload that needs more than is tolerated, with the requests that are more."""
    lines = []
    for name, counts in counted.items():
        before = baseline.get(name, {})
        if not before:
            lines.append(f"{name}: not in the baseline")
            continue
        old, new = sum(before.values()), sum(counts.values())
        if new > old * TOLERATED:
            more = {opcode: number - before.get(opcode, 0) for opcode, number in counts.items()}
            which = ", ".join(f"{opcode} +{more[opcode]}" for opcode in sorted(more, key=lambda key: -more[key])[:3])
            lines.append(f"{name}: {new} requests, {new / old - 1:+.1%} over the baseline's {old}: {which}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="which to count; all, when none is named")
    parser.add_argument("--update-baseline", action="store_true", help="what is counted now is right from now on")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--cache", type=Path, default=Path(".cache").absolute())
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp/cowfs-bench"))
    options = parser.parse_args()
    if unknown := [name for name in options.workloads if name not in WORKLOADS]:
        parser.error(f"no such workload: {', '.join(unknown)}. There are {', '.join(WORKLOADS)}.")
    if not options.baseline.exists() and not options.update_baseline:
        parser.error(f"{options.baseline} is not there: --update-baseline makes it.")
    in_a_namespace("benchmarks.guard")
    kept = json.loads(options.baseline.read_text()) if options.baseline.exists() else {"requests": {}}
    counted: dict[str, Counts] = {}
    with alone(options.scratch), ground("tmpfs", options.scratch / "guard") as place:
        make_base(debian(options.cache, machine_suite()), place / "base")
        for name in options.workloads or WORKLOADS:
            old = sum(kept["requests"].get(name, {}).values())
            enough = 0.0 if options.update_baseline else old * TOLERATED
            counted[name] = fewest(place / "base", place / name, WORKLOADS[name], enough)
            say(f"{name:<8} {sum(counted[name].values()):>7} requests, {old} in the baseline")
    if options.update_baseline:
        content = {"machine": machine(), "requests": kept["requests"] | counted}
        options.baseline.write_text(json.dumps(content, indent=1) + "\n")
    elif lines := grown(kept["requests"], counted):
        kernel, then = machine()["kernel"], kept["machine"]["kernel"]
        hint = "" if kernel == then else f" The baseline was counted with the kernel {then}, this is {kernel}."
        sys.exit("\n".join([*lines, f"More requests make builds slower. If it must be: --update-baseline.{hint}"]))


if __name__ == "__main__":
    main()
