"""What is to be built: a source tree, which is packed as sbuild does it; a .dsc, also one at an address; a name."""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from builder.build import outputs
from builder.debian import dsc
from builder.problems import Misuse, Problem
from builder.process import output
from builder.sbuild.variables import Settings

ADDRESS = re.compile(r"(https?|ftp|file)://\S+\.dsc")

# It drops root's rights where it can, and could then not write here. A server may send without an end, so there is a
# limit to what it writes, and whoever works for it.
FETCH = ("/usr/lib/apt/apt-helper", "-o", "APT::Sandbox::User=root", "download-file")
LIMITED = ("prlimit", "--core=0", "--fsize={0}:{0}", "--")


@dataclass(frozen=True)
class Source:
    package: str
    """A .dsc file, NAME or NAME_VERSION."""
    distribution: str
    output: Path
    """Where artifacts and log go."""


def settle(packages: Sequence[str], settings: Settings) -> Source:
    """Misuse where there is more than one, or no distribution is known; Problem where the source is not to be had."""
    if len(packages) > 1:
        raise Misuse("Only one build is permitted", "`cowbuild build` takes several, with --parallel.")
    named = packages[0] if packages else "."
    place = Path(settings["build_dir"]) if settings["build_dir"] else None
    distribution = settings["distribution"]
    if Path(named).is_dir():
        tree = Path(named).resolve()
        inside = Path.cwd().is_relative_to(tree)
        entry = _newest_entry(tree)
        distribution = distribution or entry["Distribution"]
        package = str(_packed(tree, entry, settings))
        place = place or (tree.parent if inside else Path.cwd())
    elif ADDRESS.fullmatch(named):
        package = str(_fetched(named))
    else:
        package = str(Path(named).absolute()) if Path(named).exists() else named
    if not distribution:
        raise Misuse("No distribution defined", "--dist NAME, or $distribution in ~/.config/sbuild/config.pl")
    return Source(package, distribution, (place or Path.cwd()).absolute())


def _newest_entry(tree: Path) -> Deb822:
    try:
        entry = Deb822(output(["dpkg-parsechangelog", "--file", tree / "debian/changelog"]))
    except Problem as problem:
        raise Problem(f"Could not parse {tree}/debian/changelog", problem.hint) from None
    name, version = entry.get("Source", ""), entry.get("Version", "")
    if not dsc.SOURCE_NAME.fullmatch(name) or not dsc.VERSION.fullmatch(version) or not entry.get("Distribution"):
        raise Problem(f"Missing Source or Version in {tree}/debian/changelog")
    return entry


def _packed(tree: Path, entry: Deb822, settings: Settings) -> Path:
    """The .dsc in the tree's parent. What sbuild runs is run, by the same user, and leaves the tree as sbuild does."""
    options = settings["dpkg_source_opts"]
    source = settings["dpkg_source"]
    fakeroot = [settings["fakeroot"]] if shutil.which(settings["fakeroot"]) else []
    clean = [([*fakeroot, "debian/rules", "clean"], "Failed to clean source directory")]
    steps = [
        ([source, "--before-build", *options, "."], "Failed to run dpkg-source --before-build"),
        *(clean if settings["clean_source"] else []),
        ([source, "-b", *options, "."], "Failed to package source directory"),
        ([source, "--after-build", *options, "."], "Failed to run dpkg-source --after-build"),
    ]
    for command, failure in steps:
        sys.stdout.flush()
        try:
            code = subprocess.run(command, cwd=tree, stdin=subprocess.DEVNULL, check=False).returncode
        except OSError as error:
            raise Problem(f"{failure} {tree}: {command[0]}: {error.strerror}", "apt-get install dpkg-dev") from None
        if code != 0:
            raise Problem(
                f"{failure} {tree}", "--no-clean-source leaves debian/rules clean out." * ("clean" in command)
            )
    version = str(entry["Version"])
    return tree.parent / f"{entry['Source']}_{version.partition(':')[2] or version}.dsc"


def _fetched(address: str) -> Path:
    """The .dsc, here, with the files that it lists: all of them or none.

    They have the names that dpkg gives, and take the place of nothing else. Problem.
    """
    directory, _, name = address.rpartition("/")
    with tempfile.TemporaryDirectory(prefix=".cowbuild-", dir=Path.cwd()) as place:
        if not dsc.FILE_NAME.fullmatch(name):
            raise Misuse(f"{address} names no file")
        target = Path(place) / name
        _fetch(address, target, dsc.TEXT_LIMIT)
        source = dsc.read(target)
        names = outputs.Names(source.name, source.version)
        listed = [each.name for each in source.files]
        if wrong := [each for each in (name, *listed) if not names.fits(each)]:
            raise Problem(f"{address}: {wrong[0]} is no name of a file of {source.name} {source.version}")
        if len({name, *listed}) != 1 + len(listed):
            raise Problem(f"{address} lists a file twice, or itself")
        for each in source.files:
            _fetch(f"{directory}/{each.name}", Path(place) / each.name, each.size, f"SHA256:{each.sha256}")
        for file in (*listed, name):
            _check_same(Path.cwd() / file, Path(place) / file)
        outputs.put(Path(place), [*listed, name], Path.cwd())
    return Path.cwd() / name


def _check_same(there: Path, fetched: Path) -> None:
    """Problem where a file of the user's would be lost."""
    if os.path.lexists(there) and not (there.is_file() and filecmp.cmp(there, fetched, shallow=False)):
        raise Problem(f"{there} is there already, and is another file", "Move it away, or go elsewhere.")


def _fetch(address: str, target: Path, limit: int, *checksum: str) -> None:
    """Problem where it is not to be had, or has more than `limit` bytes."""
    hint = f"It may have {limit} bytes at most."
    try:
        output([*(word.format(limit) for word in LIMITED), *FETCH, address, target, *checksum])
    except Problem as problem:
        raise Problem(f"Could not download {address}", f"{problem.hint}\n{hint}") from None
    # What is on this machine is not copied: the target is a link to it.
    if target.stat().st_size > limit:
        raise Problem(f"Could not download {address}: it is larger than it may be", hint)
