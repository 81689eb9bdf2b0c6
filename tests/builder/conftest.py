"""The people who build in the tests, and the bases their tests share; made once and kept in .cache."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import http.server
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from builder import user_namespace
from builder.debian import apt, architectures
from builder.problems import Problem
from tests.builder import short_lists
from tests.builder.packages import COWBUILD, Base, Person, Workplace, state_of

CACHE = Path(__file__).parents[2] / ".cache"
USER = 58231

# A plain user with subordinate ids, and with /dev/fuse and /dev/net/tun open as Debian has them, in a private mount
# namespace: the machine is not changed.
BECOME_USER = """
set -e
etc=$(mktemp -d) && mount -n -t tmpfs -o mode=755 tmpfs "$etc"
{ cat /etc/passwd; echo "tester:x:$1:$1::/nonexistent:/bin/sh"; } > "$etc/passwd"
{ cat /etc/group; echo "tester:x:$1:"; } > "$etc/group"
echo "tester:300000:65536" | tee "$etc/subuid" > "$etc/subgid"
for file in passwd group subuid subgid; do mount -n --bind "$etc/$file" "/etc/$file"; done
mknod -m 666 "$etc/fuse" c 10 229 && mount -n --bind "$etc/fuse" /dev/fuse
[ ! -e /dev/net/tun ] || { mknod -m 666 "$etc/tun" c 10 200 && mount -n --bind "$etc/tun" /dev/net/tun; }
umount -n --lazy "$etc" && rmdir "$etc"
user=$1 && shift
exec setpriv --reuid "$user" --regid "$user" --clear-groups --inh-caps=-all -- "$@"
"""

CHECK = """
import sys
from builder import problems, user_namespace
try:
    user_namespace.check()
except problems.Problem as problem:
    sys.exit(f"{problem} ({problem.hint})")
"""


def _person(name: str) -> Person:
    """`root`, or `user`: a plain one, whoever runs the tests. Skips where that cannot be."""
    if name == "root":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        return Person(name)
    if os.geteuid() != 0:
        try:
            user_namespace.check()
            user_namespace.check_fuse()
        except Problem as problem:
            pytest.skip(f"{problem} ({problem.hint})")
        return Person(name)
    before = ("unshare", "--mount", "sh", "-c", BECOME_USER, "become-user", str(USER))
    if subprocess.run([*before, *COWBUILD, "--help"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a plain user cannot reach the project's directory")
    checked = subprocess.run([*before, sys.executable, "-P", "-c", CHECK], capture_output=True, text=True, check=False)
    if checked.returncode != 0:
        pytest.skip(f"a plain user cannot build here, as in a chroot: {checked.stderr.strip()}")
    return Person(name, before, {"HOME": "/nonexistent", "USER": "tester"})


@pytest.fixture(scope="session")
def base_of() -> Callable[..., Base]:
    """`base_of(person, architecture=None)`: a person's base; made at the first call ever, and kept."""
    known: dict[tuple[str, str | None], Base] = {}

    def find(name: str, architecture: str | None = None) -> Base:
        key = (name, architecture)
        if key not in known:
            person = _person(name)
            path = _make_base(person, architecture)
            known[key] = Base(path, person, state_of(path))
        return known[key]

    return find


def _make_base(person: Person, architecture: str | None) -> Path:
    suite = apt.machine_suite()
    place = CACHE if person.name == "root" else CACHE / person.name
    place.mkdir(parents=True, exist_ok=True)
    if person.before:
        os.chown(place, USER, USER)
    path = place / "-".join(filter(None, ("base", suite, architecture)))
    # One program after another by qemu takes minutes: that is done once, and the other person unpacks it.
    unpacked = _make_base(Person("root"), architecture) if architecture and person.before else None
    knows, whole = path.with_name(f"{path.name}.knows"), (unpacked or path).with_name(f"{path.name}.lists")
    # Test processes that run side by side wait for the one that makes it.
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists() and knows.exists() and not whole.exists():
            _cowbuild(person, "remove", path)
        if not path.exists():
            knows.unlink(missing_ok=True)
            if not unpacked:
                shutil.rmtree(whole, ignore_errors=True)
            if unpacked:
                _unpack(person, unpacked, path)
            elif architecture:
                # The release alone: a mirror may lack, or be updating, another architecture's security archive.
                [mirror] = [each.uri for each in apt.machine_archives() if each.release == suite]
                _cowbuild(person, "create", path, "--suite", suite, "--arch", architecture, "--mirror", mirror)
            else:
                _cowbuild(person, "create", path, "--suite", suite)
        if not knows.exists() or knows.read_text() != short_lists.KNOWN:
            short_lists.shorten(path, whole, architecture or architectures.machine())
            knows.write_text(short_lists.KNOWN)
    return path


def _unpack(person: Person, base: Path, path: Path) -> None:
    with tempfile.NamedTemporaryFile() as tarball:
        subprocess.run(["tar", "--create", "--numeric-owner", "--directory", base, "."], stdout=tarball, check=True)
        os.chown(tarball.name, USER, USER)
        _cowbuild(person, "create", path, "--tarball", tarball.name)


def _cowbuild(person: Person, *words: str | Path) -> None:
    # Kept sessions of the tests' own are root's, and none stands on a base that is being made.
    environment = {**os.environ, **person.environment, "XDG_STATE_HOME": "/nonexistent"}
    subprocess.run([*person.before, *COWBUILD, *words], env=environment, check=True)


@pytest.fixture
def work(request: pytest.FixtureRequest, base_of: Callable[..., Base]) -> Iterator[Workplace]:
    """As root, unless the test says otherwise: `for_both`, or pairs of a person and an architecture."""
    wanted = getattr(request, "param", "root")
    base = base_of(wanted) if isinstance(wanted, str) else base_of(*wanted)
    # Not tmp_path: the directories above that are root's alone.
    place = Path(tempfile.mkdtemp(prefix="cowbuild-test-", dir="/tmp"))
    workplace = Workplace(place, base)
    for directory in (place, workplace.sessions, workplace.output, workplace.cache, workplace.state):
        directory.mkdir(exist_ok=True)
        if base.owner.before:
            os.chown(directory, USER, USER)
    yield workplace
    base.assert_unchanged()
    workplace.assert_nothing_left()
    shutil.rmtree(place)


SPECIAL = """\
Package: special
Version: 1
Architecture: all
Maintainer: Nobody <nobody@localhost>
Description: made by a test
"""


class Recording(http.server.SimpleHTTPRequestHandler):
    """Says nothing; notes what it is asked for."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_words: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def repository(tmp_path: Path, served: Callable[[Path], str]) -> tuple[Path, str]:
    """A directory with one package and an unsigned Release file, and its address."""
    place = tmp_path / "repository"
    (place / "made/DEBIAN").mkdir(parents=True)
    (place / "made/DEBIAN/control").write_text(SPECIAL)
    (place / "made").chmod(0o755)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", "made", "special.deb"], cwd=place, check=True)
    packages = subprocess.check_output(["dpkg-scanpackages", "."], cwd=place, stderr=subprocess.DEVNULL)
    (place / "Packages").write_bytes(packages)
    digest = hashlib.sha256(packages).hexdigest()
    release = f"Date: Mon, 01 Jan 2024 00:00:00 +0000\nSuite: ./\nSHA256:\n {digest} {len(packages)} Packages\n"
    (place / "Release").write_text(release)
    return place, served(place)


@pytest.fixture
def served() -> Iterator[Callable[[Path], str]]:
    """`served(directory)`: its address on the loopback; as long as the test lasts."""
    Recording.asked.clear()
    with ExitStack() as stack:

        def serve(place: Path) -> str:
            handler = functools.partial(Recording, directory=str(place))
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield serve
