"""Programs that call sbuild, over the real one and over ours: they find the same files, exit codes and logs."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from builder.debian import apt
from tests.builder.packages import make_source
from tests.builder.rebuild import snapshot_service
from tests.harness import syscalls
from tests.interop.conftest import CONFIGURATION, Both, Outcome, assert_same

pytestmark = pytest.mark.root

# Who calls, in a git repository of the package -> the command, as in Debian's documentation of each, or, of those that
# Debian 12 has not or that want a server, as in their source.
CALLERS = {
    "git-buildpackage": ("gbp", "buildpackage", "--git-builder=sbuild -v -d unstable", "--git-ignore-branch"),
    "brz builddeb": ("brz", "builddeb", "--native", "--builder=sbuild -d unstable -s --source-only-changes"),
    "dgit": ("dgit", "-wn", "--new", "-v_", "sbuild", "-d", "unstable", "-A"),
    "wanna-build's buildd": (
        *("sbuild", "--no-apt-update", "--no-apt-upgrade", "--no-apt-distupgrade", "--no-run-lintian", "--batch"),
        *("--stats-dir=stats", "--dist=unstable", "--sbuild-mode=buildd", "--mailfrom=a@localhost", "--arch-any"),
        *("--maintainer=Builder <b@localhost>", "--dpkg-file-suffix=-buildd", "--no-arch-all", "--arch=amd64"),
        *("--make-binNMU=Rebuild", "--binNMU=3", "--binNMU-timestamp=1700000000", "../tiny_1.dsc"),
    ),
    "deb-o-matic": (
        *("sbuild", "-A", "-s", "-d", "unstable", "--arch=amd64", "--no-run-lintian", "-c", "tests"),
        *("--force-orig-source", "--debbuildopt=-v0~", "--debbuildopt=-Zxz", "--log-external-command-output"),
        *("--log-external-command-error", "../tiny_1.dsc"),
    ),
    # Both builds of it, one of them under other conditions.
    "reprotest": (
        *("reprotest", "--variations=-all,+environment,+timezone,+umask,+exec_path"),
        *("--build-command=sbuild -d unstable tiny_1.dsc", "..", "*.deb", "--", "null"),
    ),
}

GIT = """
git init -q -b master
git add -A
git commit -qm imported
"""


@pytest.fixture(scope="module")
def repository(scratch: Path, both: Both, source: Path) -> Path:
    place = scratch / "repository"
    shutil.copytree(source, place)
    identity = "[user]\nname = Tester\nemail = tester@localhost\n[safe]\ndirectory = *\n"
    (both.place / "home/.gitconfig").write_text(identity)
    both.machine.output("env", f"HOME={both.place / 'home'}", "sh", "-ec", GIT, place=place / "tiny-1")
    return place


@pytest.mark.parametrize("who", CALLERS)
def test_a_caller_finds_the_same(both: Both, repository: Path, who: str) -> None:
    real, ours = both.run(repository, CALLERS[who], "tiny-1", EMAIL="tester@localhost", DEBFULLNAME="Tester")
    assert real.code == 0, real.printed
    if who == "reprotest":
        # It builds in a directory of its own, and keeps nothing.
        for each in (real, ours):
            assert "Reproduction successful" in each.printed
            assert each.printed.count("| Summary ") == 0
        return
    assert real.changes
    # What statistics and progress tell is in the log.
    left_out = {name for name in real.files if re.search("(^|/)(stats|build-progress)", name)}
    assert_same(replace(real, files=real.files - left_out), ours)


# Some callers name a source package, which is then had from the archive: here one on the loopback, believed by a key.
OF_THE_ARCHIVE = (
    CONFIGURATION.replace("'null'", "'apt'").replace("$apt_update = 0", "$apt_update = 1")
    + """
$unshare_tmpdir_template = '/run/tmp.sbuild.XXXXXXXXXX';
$external_commands->{'chroot-setup-commands'} = ["echo 'LINES' > /etc/apt/sources.list"];
1;
"""
)

KEY = """
set -e
export GNUPGHOME=$PWD/gnupg; mkdir -m 700 gnupg
gpg --batch --quiet --passphrase '' --quick-generate-key archive@localhost ed25519 sign
gpg --batch --export > keyring.gpg
"""

DISTS = """
set -e
mkdir -p dists/sid/main/source dists/sid/main/binary-amd64
apt-ftparchive sources pool > dists/sid/main/source/Sources
apt-ftparchive packages pool > dists/sid/main/binary-amd64/Packages
for each in Origin=Debian Label=Debian Suite=unstable Codename=sid Components=main Architectures=amd64; do
    echo "APT::FTPArchive::Release::${each%%=*} \\"${each#*=}\\";"
done > ../release.conf
apt-ftparchive -c ../release.conf release dists/sid > Release && mv Release dists/sid
GNUPGHOME=../gnupg gpg --batch --quiet --clearsign --output dists/sid/InRelease dists/sid/Release
gpgconf --homedir ../gnupg --kill gpg-agent
for other in unstable bookworm trixie; do ln -s sid dists/$other; done
"""

# What stands in for the network: the real one makes the same of snapshot.debian.org's files.
DEBOOTSNAP = """#!/bin/sh
for tarball; do :; done
cp --reflink=auto {tarball} "$tarball"
"""


@dataclass(frozen=True)
class Archive:
    """Both programs, on a machine on which apt knows an archive that has two sources: `tiny`, and `user` of it."""

    both: Both
    built: Path
    """A directory with what building `tiny` made."""
    tarball: Path
    """Of a chroot, as unshare mode wants it."""

    def run(self, *command: str, **environment: str) -> tuple[Outcome, Outcome]:
        configuration = str(self.both.place / "archive.pl")
        return self.both.run(self.built, command, SBUILD_CONFIG=configuration, **environment)


@pytest.fixture(scope="module")
def archive(both: Both, source: Path, scratch: Path) -> Iterator[Archive]:
    place = scratch / "signed"
    pool = place / "archive/pool"
    pool.mkdir(parents=True)
    shutil.copytree(source, pool, dirs_exist_ok=True)
    make_source(pool, "cat /usr/share/tiny/control", name="user", depends="dpkg-dev, tiny")
    # apt forgets an index with nothing in it.
    snapshot_service.make_package(pool, "needle", "1.0")
    subprocess.run(["sh", "-c", KEY], cwd=place, check=True)
    subprocess.run(["sh", "-c", DISTS], cwd=place / "archive", check=True)
    built = scratch / "built"
    shutil.copytree(source, built)
    own = {"SBUILD_CONFIG": str(both.place / "config.pl"), "XDG_DATA_HOME": str(both.place / "data")}
    words = ("--make-binNMU=Again", "--binNMU-timestamp=1700000000", "-m", "Some One <o@localhost>", "tiny_1.dsc")
    done = both.machine.run(both.place / "ours/sbuild", "-d", "unstable", *words, place=built, environment=own)
    assert done.returncode == 0, done.stdout
    with snapshot_service.running() as service:
        service.archive = place / "archive"
        lines = "".join(f"{kind} [trusted=yes] {service.address}/debian sid main\n" for kind in ("deb", "deb-src"))
        (both.place / "archive.pl").write_text(OF_THE_ARCHIVE.replace("LINES", lines))
        with known_to_apt(place, lines):
            yield Archive(both, built, _tarball(both.machine.base.path, lines, scratch))


def _tarball(base: Path, lines: str, place: Path) -> Path:
    (place / "chroot/etc/apt").mkdir(parents=True)
    (place / "chroot/etc/apt/sources.list").write_text(lines)
    tarball = place / "chroot.tar"
    left_out = ("--one-file-system", "--exclude=./etc/apt/sources.list", "--exclude=./dev/*")
    subprocess.run(["tar", "--numeric-owner", *left_out, "-cf", tarball, "-C", base, "."], check=True)
    subprocess.run(["tar", "-rf", tarball, "-C", place / "chroot", "./etc/apt/sources.list"], check=True)
    return tarball


@contextmanager
def known_to_apt(place: Path, lines: str) -> Iterator[None]:
    """Have the machine's apt know this archive alone, and believe the key in `place`; root has subordinate ids."""
    own = place / "etc-apt"
    shutil.copytree("/etc/apt", own, ignore=shutil.ignore_patterns("sources.list*"))
    (own / "sources.list").write_text(lines)
    (place / "lists").mkdir()
    over = {"/etc/apt": own, "/var/lib/apt/lists": place / "lists", str(apt.KEYRING): place / "keyring.gpg"}
    for name in ("subuid", "subgid"):
        (place / name).write_text("root:100000:65536\n")
        over[f"/etc/{name}"] = place / name
    for target, mine in over.items():
        syscalls.mount(str(mine), target, "", syscalls.MS_BIND)
    subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "update"], check=True, capture_output=True)
    yield
    for target in over:
        syscalls.umount(target, syscalls.MNT_DETACH)


def test_ratt_rebuilds_what_needs_a_package(archive: Archive) -> None:
    real, ours = archive.run("ratt", "-dist=sid", "-sbuild_dist=sid", "tiny_1+b1_amd64.changes")
    assert real.code == 0, real.printed
    assert "user_1" in {Path(name).name for name in real.files}
    assert_same(real, ours)


def test_debrebuild_finds_what_was_built_reproduced(archive: Archive) -> None:
    """A binNMU: that of Debian 12 takes the source's version from nothing else, and else has none."""
    stands_in = archive.both.place / "home/debootsnap"
    stands_in.write_text(DEBOOTSNAP.format(tarball=shlex.quote(str(archive.tarball))))
    stands_in.chmod(0o755)
    for who in ("real", "ours"):
        (archive.both.place / who / "debootsnap").unlink(missing_ok=True)
        (archive.both.place / who / "debootsnap").symlink_to(stands_in)
    words = ("debrebuild", "--builder=sbuild+unshare", "--buildresult=again", "tiny_1+b1_amd64.buildinfo")
    real, ours = archive.run(*words)
    assert real.code == 0, real.printed
    assert_same(real, ours)
    for each in (real, ours):
        assert "checking tiny_1+b1_amd64.deb: size... " in each.printed


def read_as_debusine(outcome: Outcome) -> tuple[str, list[str]]:
    """The status in the one log, and the packages, as its task Sbuild finds them."""
    [_log] = [name for name in outcome.files if name.endswith("-TIME.build")]
    [*_, status] = re.findall(r"^Status: (.*)$", outcome.log, re.MULTILINE)
    return status, sorted(name for name in outcome.files if name.endswith("_amd64.deb"))


def test_debusine_s_command_line(archive: Archive) -> None:
    words = [
        *("sbuild", "--purge-deps=never", "--no-run-lintian", "--arch-any", "--no-arch-all", "--no-source"),
        *("--arch=amd64", "--dist=sid", "--chroot-mode=unshare", f"--chroot={archive.tarball}"),
        "--chroot-setup-commands=rm -f /etc/resolv.conf",
        "--pre-build-commands=echo Types: | %SBUILD_CHROOT_EXEC sh -c 'cat > /etc/apt/sources.list.d/x.list.off'",
        *("--make-binNMU=Rebuild", "--append-to-version=+x1", "--binNMU=0", "--binNMU-timestamp=1700000000"),
        *("--maintainer=Debusine <noreply@localhost>", "--profiles=nodoc", "--bd-uninstallable-explainer=dose3"),
        *("--extra-package=tiny_1+b1_amd64.deb", "tiny_1.dsc"),
    ]
    real, ours = archive.run(*words)
    assert real.code == 0, real.printed
    assert_same(real, ours)
    assert read_as_debusine(ours) == read_as_debusine(real) == ("successful", ["tiny_1+x1_amd64.deb"])
