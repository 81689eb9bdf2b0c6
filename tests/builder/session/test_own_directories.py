"""The build tree and /tmp of a session: plain directories beside its layer, bound into its root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.session import own_directories
from tests.builder.packages import COWBUILD, Workplace, for_both, make_source
from tests.builder.session.test_sandbox import found_inside

PLACE = "/build/reproducible-path"

LOOK = f"""
found tmp "$(stat -c '%a %u' /tmp)"
found place "$(stat -c '%a %U' {PLACE})"
found mounts "$(awk '$5 ~ "^/(tmp|build)" {{ print $5, $6, $(NF - 2) }}' /proc/self/mountinfo | cut -d, -f1-3 | xargs)"
touch /tmp/file {PLACE}/file
found linked "$(ln /tmp/file {PLACE}/linked 2>/dev/null && echo done)"
found renamed "$(perl -e 'print rename("/tmp/file", "{PLACE}/renamed") ? "done" : 0 + $!')"
found run "$(cp /bin/true /tmp/run && /tmp/run && echo done)"
found setuid "$(cp /usr/bin/id /tmp/setuid && chmod 4755 /tmp/setuid && /tmp/setuid -u | grep -x 0)"
"""

# Of perl, with the numbers of x86-64: a file opened by its handle, for which no name is needed.
BY_HANDLE = """
my $handle = pack("Ii x128", 128, 0);
my $mount = pack("i", 0);
my $path = "/tmp";
syscall(303, -100, $path, $handle, $mount, 0) == 0 or exit 3;
open(my $there, "<", $path) or exit 4;
exit(syscall(304, fileno($there), $handle, 0) >= 0 ? 0 : 5);
"""


@for_both
def test_both_are_plain_directories_with_the_modes_they_always_had(work: Workplace) -> None:
    found = found_inside(work, LOOK)
    kind = found.pop("mounts").split()
    assert [word for word in kind if word.startswith("/")] == ["/tmp", PLACE]
    assert kind.count("rw,nosuid,nodev") == 2
    assert "fuse.cowfs" not in kind
    assert found == {
        "tmp": "1777 0",
        "place": "755 cowbuild",
        "linked": "",
        "renamed": "18",  # EXDEV
        "run": "done",
        "setuid": "",
    }


def test_what_is_asked_to_be_in_the_union_is(work: Workplace) -> None:
    code, printed = work.build(
        make_source(work.place, f"set +e; found() {{ echo $1=$2; }}; {LOOK}"), "--in-union", "build,tmp"
    )
    assert code == 0, printed[-2000:]
    for line in ("tmp=1777 0", "place=755 cowbuild", "mounts=", "linked=done", "renamed=done", "run=done", "setuid="):
        assert f"\n{line}\n" in printed


def test_in_memory_no_more_is_written_than_was_said(work: Workplace) -> None:
    script = "findmnt -n -o FSTYPE -T .\n! dd if=/dev/zero of=full bs=1M count=300\nstat -c '%s full' full; rm full"
    code, printed = work.build(make_source(work.place, script), "--build-in-memory=256M")
    assert code == 0, printed[-2000:]
    assert "\ntmpfs\n" in printed
    [size] = [int(line.split()[0]) for line in printed.splitlines() if line.endswith(" full")]
    assert 1 << 20 < size < 256 << 20
    code, printed = work.build(make_source(work.output), "--build-in-memory", "--purge-session=never")
    assert (code, printed.splitlines()[0]) == (2, "cowbuild: With --build-in-memory no session can be kept")


def test_a_build_path_with_something_in_it_stays_in_the_union(work: Workplace) -> None:
    for path, why in (("/etc/skel", "\n/etc/skel stays in the union: something is in it\n"), ("/tmp/below", "")):
        place = work.place / path.replace("/", "")
        place.mkdir()
        script = "echo device $(stat -c %d . /tmp / | uniq | wc -l)"
        code, printed = work.build(make_source(place, script), "--build-path", path)
        assert code == 0, printed[-2000:]
        assert why in printed
        assert ("stays in the union" in printed) == bool(why)
        # In the one case as "/", in the other as /tmp.
        assert f"\ndevice {3 if why else 2}\n" in printed


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="written with this machine's system calls")
@pytest.mark.parametrize("namespace", ["--user-namespace", "--no-user-namespace"])
def test_root_inside_opens_nothing_of_the_disk_by_its_handle(work: Workplace, namespace: str) -> None:
    command = [*COWBUILD, namespace, "run", str(work.base.path), "--", "perl", "-e", BY_HANDLE]
    assert subprocess.run(command, env=work.environment, check=False).returncode == 5


@pytest.fixture
def root(place: Path) -> Iterator[Path]:
    """A directory to bind in, as if it were a session's root."""
    made = place / "root"
    (made / "tmp").mkdir(parents=True)
    yield made
    subprocess.run(["umount", "--recursive", "--quiet", made / "tmp"], check=False)


def test_a_plain_directory_is_what_it_covers(root: Path) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:7:rwx", root / "tmp"], check=True)
    (root / "tmp").chmod(0o1770)
    os.chown(root / "tmp", 5, 6)
    own = root.parent / "own"
    assert own_directories.add(root, own, "/tmp") == ""
    for directory in (root / "tmp", own / "tmp"):
        status = directory.stat()
        assert (oct(status.st_mode), status.st_uid, status.st_gid) == ("0o41770", 5, 6)
        acl = subprocess.run(["getfacl", "-cn", directory], capture_output=True, text=True, check=True).stdout
        assert "default:user:7:rwx" in acl
    (root / "tmp/file").touch()
    assert (own / "tmp/file").exists()
    assert os.statvfs(root / "tmp").f_flag & os.ST_NOSUID
    assert own_directories.kept(own, PLACE) == ["tmp"]
    assert own_directories.kept(own, "/../own") == ["tmp"]
    # A second time it is there; what lies in it, too.
    assert own_directories.add(root, own, "/tmp") == own_directories.add(root, own, "/tmp/below") == ""


def test_why_something_stays_in_the_union(root: Path) -> None:
    own = root.parent / "own"
    (root / "tmp").rmdir()
    (root / "tmp").symlink_to("/etc")
    assert own_directories.add(root, own, "/tmp") == "it is no directory"
    assert own_directories.add(root, own, "/tmp/below") == "/tmp does"
    (root / "tmp").unlink()
    (root / "tmp").mkdir()
    (root / "tmp/file").touch()
    assert own_directories.add(root, own, "/tmp") == "something is in it"
    (root / "tmp/file").unlink()
    disk = root.parent / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "none", disk], check=True)
    try:
        assert own_directories.add(root, disk / "own", "/tmp") == f"nothing may be run on the disk of {disk}"
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)
