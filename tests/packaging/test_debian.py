"""The Debian packages: built by cowbuild, looked at by lintian, installed in a clean base, where they then run."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from debian.changelog import Changelog
from debian.deb822 import Deb822

from cowfs import __version__
from tests.builder.conftest import CACHE
from tests.builder.packages import COWBUILD, Base

ROOT = Path(__file__).parents[2]

# What is mounted ends with this namespace; `$1` is the base, `$2` an empty directory, `$3` one with the packages.
IN_A_CLEAN_BASE = """
set -e
mount -n -t tmpfs none "$2" && cd "$2" && mkdir root
cowfs -o dev,suid "$1" root
for name in dev proc; do mount -n --rbind /$name root/$name; done
cp /etc/resolv.conf root/etc/resolv.conf
cp "$3"/*.deb root/var/tmp
cp -r "$4" root/var/tmp/tests
chroot root sh -c 'apt-get -qq -y --no-install-recommends install /var/tmp/*.deb'
for test in mount commands; do
    mkdir root/var/tmp/$test
    chroot root env AUTOPKGTEST_TMP=/var/tmp/$test PATH=/usr/sbin:/usr/bin:/sbin:/bin /var/tmp/tests/$test
done
chroot root dpkg -V cowfs cowbuild
echo all ran
"""


def version() -> str:
    return __version__


def test_the_packages_have_the_version_of_the_project() -> None:
    assert str(Changelog((ROOT / "debian/changelog").read_text(), max_blocks=1).version) == version()


@contextmanager
def packages_built(base: Base) -> Iterator[Path]:
    """Where the packages are, with their .changes; the installed build dependencies are kept for the next run."""
    place = Path(tempfile.mkdtemp(prefix="cowbuild-test-", dir="/tmp"))
    command: list[str | Path] = [*COWBUILD, "build", ROOT, "--base", base.path, "--output", place]
    command += ["--source", "--no-apt-update"]
    own = {"XDG_CACHE_HOME": str(CACHE / "packaging"), "XDG_CONFIG_HOME": str(place), "TMPDIR": str(place)}
    try:
        built = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stdout[-5000:] + built.stderr
        base.assert_unchanged()
        yield place
    finally:
        shutil.rmtree(place)


def lintian_finds_nothing_in(packages: Path) -> None:
    [changes] = packages.glob("*.changes")
    command: list[str | Path] = ["lintian", "--no-cfg", "--fail-on=error,warning", changes]
    looked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert looked.returncode == 0, looked.stdout
    assert looked.stdout == ""


def nothing_of_the_working_tree_is_in_the_source_of(packages: Path) -> None:
    [tarball] = packages.glob("*.tar.xz")
    names = subprocess.check_output(["tar", "-tf", tarball], text=True).splitlines()
    tops = {name.split("/")[1] for name in names} - {""}
    assert {"cowfs", "builder", "debian", "tests", "README.md"} <= tops
    assert not {name for name in tops if name.startswith(".")}
    assert not [name for name in names if "__pycache__" in name]


def each_has_its_command_with_page_and_completions(packages: Path) -> None:
    for name in ("cowfs", "cowbuild"):
        [package] = packages.glob(f"{name}_*.deb")
        assert Deb822(subprocess.check_output(["dpkg-deb", "--field", package], text=True))["Version"] == version()
        listed = subprocess.check_output(["dpkg-deb", "--fsys-tarfile", package])
        names = subprocess.run(["tar", "-t"], input=listed, capture_output=True, check=True).stdout.decode().split()
        for wanted in (
            f"./usr/bin/{name}",
            f"./usr/share/man/man1/{name}.1.gz",
            f"./usr/share/bash-completion/completions/{name}",
            f"./usr/share/zsh/vendor-completions/_{name}",
        ):
            assert wanted in names


def they_run_installed_in_a_clean(base: Base, packages: Path) -> None:
    place = packages / "clean"
    place.mkdir()
    words = [base.path, place, packages, ROOT / "debian/tests"]
    path = f"{Path(COWBUILD[0]).parent}:{os.environ['PATH']}"
    ran = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", IN_A_CLEAN_BASE, "sh", *words],
        env={**os.environ, "PATH": path, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert ran.stdout.endswith("all ran\n")
    base.assert_unchanged()


@pytest.mark.slow
@pytest.mark.root
def test_the_packages_are_built_clean_and_whole_and_run_where_they_are_installed(base_of: Callable[..., Base]) -> None:
    """One test, so that the packages are built once however many processes the tests run in."""
    base = base_of("root")
    with packages_built(base) as packages:
        lintian_finds_nothing_in(packages)
        nothing_of_the_working_tree_is_in_the_source_of(packages)
        each_has_its_command_with_page_and_completions(packages)
        they_run_installed_in_a_clean(base, packages)
