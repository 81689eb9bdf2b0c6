"""The ways by which a build reaches the base behind a library that wraps libc: none of them does through a mount.

Each is really taken, on cowfs and in the `cow-shell` of Debian's cowdancer over a `cp -al` copy of the base.
SECURITY.md has what came of it as a table, which `python -m tests.mount.test_escape` prints.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness import actions
from tests.harness.bench import Workbench
from tests.harness.snapshot import differences, snapshot
from tests.harness.trees import Entry, file, make_tree

pytestmark = pytest.mark.root

SOURCE = Path(__file__).with_name("escape.c")
SECURITY = Path(__file__).parents[2] / "SECURITY.md"

NOT_SUPPORTED = 77  # exit code of escape.c

_I386 = "/usr/i686-linux-gnu/lib"
COMPILERS = {
    "dynamic": ["gcc"],
    "static": ["gcc", "-static"],
    "32-bit": ["i686-linux-gnu-gcc", f"-Wl,--dynamic-linker={_I386}/ld-linux.so.2", f"-Wl,-rpath={_I386}"],
    "arm64": ["aarch64-linux-gnu-gcc", "-static"],
}
# Debian 13 links qemu-user statically and has the other name for old habits only.
EMULATORS = {"arm64": [shutil.which("qemu-aarch64-static") or "qemu-aarch64"]}


class Way(NamedTuple):
    """One way to change an existing file. `leaks`: with cowdancer the change reaches the base."""

    leaks: bool
    shown: str  # as SECURITY.md shows it
    call: str = ""  # of escape.c
    program: str = "dynamic"  # of COMPILERS
    shell: str = ""  # instead of a program: a command on "$1"


WAYS = (
    Way(False, "`open`", "open"),
    Way(False, "`creat`", "creat"),
    Way(False, '`fopen` "w"', "fopen w"),
    Way(False, '`fopen` "a"', "fopen a"),
    Way(False, "`chmod`", "chmod"),
    Way(False, "`chown`", "chown"),
    Way(False, "`lchown`", "lchown"),
    Way(True, "`fchmod` after `open` for reading", "fchmod"),
    Way(True, "`fchown` after `open` for reading", "fchown"),
    Way(True, "fortified `open`", "fortified open"),
    Way(True, '`fopen` "r+"', "fopen r+"),
    Way(True, "`freopen`", "freopen"),
    Way(True, "`openat`", "openat"),
    Way(True, "`truncate`", "truncate"),
    Way(True, "`ftruncate` after `openat`", "ftruncate"),
    Way(True, "`fchmodat`", "fchmodat"),
    Way(True, "`fchownat`", "fchownat"),
    Way(True, "`utimensat`", "utimensat"),
    Way(True, "`futimens`", "futimens"),
    Way(True, "`setxattr`", "setxattr"),
    Way(True, "`fsetxattr`", "fsetxattr"),
    Way(True, "`removexattr`", "removexattr"),
    Way(True, "`mmap` MAP_SHARED after `openat`", "mmap"),
    Way(True, "`copy_file_range` after `openat`", "copy_file_range"),
    Way(True, "`sendfile` after `openat`", "sendfile"),
    Way(True, "`fallocate` after `openat`", "fallocate"),
    Way(True, "/proc/self/fd/N opened again", "proc fd"),
    Way(True, "`openat` and `pwrite64` by `syscall`", "raw pwrite64"),
    Way(True, "`truncate` by `syscall`", "raw truncate"),
    Way(True, "`fchmodat` by `syscall`", "raw fchmodat"),
    Way(True, "open and write by io_uring", "io_uring"),
    Way(True, "`open` in a static program", "open", "static"),
    Way(True, "`open` in a 32-bit program", "open", "32-bit"),
    Way(True, "`open` in an arm64 program under qemu-user", "open", "arm64"),
    Way(False, "shell `>>`", shell='echo X >> "$1"'),
    Way(False, "dd", shell='dd if=/etc/passwd of="$1" bs=1 count=1 conv=notrunc status=none'),
    Way(False, "sed -i", shell='sed -i s/content/X/ "$1"'),
    Way(False, "install", shell='install -m 600 /etc/passwd "$1"'),
    Way(False, "tee", shell='tee "$1" < /etc/passwd > /dev/null'),
    Way(False, "touch -d", shell='touch -d @1 "$1"'),
    Way(False, "truncate -s", shell='truncate -s 1 "$1"'),
    Way(False, "Python's open()", shell='python3 -c \'import sys; open(sys.argv[1], "r+").write("X")\' "$1"'),
    Way(True, "cp onto it", shell='cp /etc/passwd "$1"'),
    Way(True, "chmod", shell='chmod 600 "$1"'),
    Way(True, "chown", shell='chown 1:1 "$1"'),
)


def _name(way: Way) -> str:
    return f"{way.call}, {way.program}" if way.call else way.shell.split(maxsplit=1)[0]


@pytest.fixture(scope="session")
def programs(scratch: Path) -> Mapping[str, Path]:
    """escape.c for each of COMPILERS."""
    made = {}
    for name, compiler in COMPILERS.items():
        made[name] = scratch / f"escape-{name}"
        fortify = ["-O1", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
        subprocess.run([*compiler, *fortify, "-Wall", "-Werror", "-o", made[name], SOURCE], check=True)
    return made


def _command(way: Way, programs: Mapping[str, Path], target: str) -> list[str]:
    if way.shell:
        return ["sh", "-c", way.shell, "sh", target]
    return [*EMULATORS.get(way.program, ()), str(programs[way.program]), way.call, target]


def _change(way: Way, programs: Mapping[str, Path], target: Path, engine: str) -> None:
    """Go a way in a mount; it must have changed what the mount shows."""
    before = snapshot(str(target.parent))
    code = subprocess.run(_command(way, programs, str(target)), check=False).returncode
    if (engine, way.call) == ("pyfuse3", "fallocate"):  # no such request: docs/limits.md
        assert code == NOT_SUPPORTED
        return
    assert code == 0, f"{way.shown} failed"
    assert differences(before, snapshot(str(target.parent))) != [], f"{way.shown} did nothing"


def _victim() -> Entry:
    return file(b"content of the base\n", xattrs={"user.mark": b"1"})


def test_no_way_leads_to_the_base(bench: Workbench, programs: Mapping[str, Path]) -> None:
    base = bench.base({f"{number}/file": _victim() for number in range(len(WAYS))})
    mount = bench.mount(base)
    for number, way in enumerate(WAYS):
        place = mount.point / str(number)
        in_base = snapshot(str(base / str(number)))
        _change(way, programs, place / "file", bench.engine)
        assert differences(in_base, snapshot(str(base / str(number)))) == [], way.shown


@pytest.mark.parametrize("program", ["static", "32-bit", "arm64"])
def test_no_program_without_the_hosts_libc_reaches_the_base(
    bench: Workbench, programs: Mapping[str, Path], program: str
) -> None:
    """Every call again, in programs that no preloaded library gets into. qemu-user has no io_uring."""
    calls = [way.call for way in WAYS if way.program == "dynamic" and way.call]
    if program == "arm64":
        calls.remove("io_uring")
    mount = bench.mounted({f"{call}/file": _victim() for call in calls})
    for call in calls:
        _change(Way(True, call, call, program), programs, mount.point / call / "file", bench.engine)


@pytest.mark.parametrize("way", WAYS, ids=_name)
def test_which_ways_lead_to_the_base_of_cowdancer(place: Path, programs: Mapping[str, Path], way: Way) -> None:
    base, copy = place / "base", place / "copy"
    make_tree(str(base), {"file": _victim()})
    subprocess.run(["cp", "-al", base, copy], check=True)
    before, before_copy = snapshot(str(base)), snapshot(str(copy))
    # A process that cow-shell leaves to tidy up sometimes never ends: its pid namespace ends it.
    alone = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with (place / "output").open("wb") as output:
        command = [*alone, "cow-shell", *_command(way, programs, "file")]
        done = subprocess.run(command, cwd=copy, stdout=output, stderr=output, check=False)
    assert done.returncode == 0, (place / "output").read_text()
    assert differences(before_copy, snapshot(str(copy))) != [], "it did nothing"
    after = {name: node._replace(nlink=before[name].nlink) for name, node in snapshot(str(base)).items()}
    assert (differences(before, after) != []) == way.leaks


def table() -> str:
    """SECURITY.md's escape table: a row for each kind of way and what came of it."""
    rows: dict[tuple[str, bool], list[str]] = {}
    for way in WAYS:
        past_libc = way.call.startswith(("raw", "io_uring")) or way.program != "dynamic"
        kind = "commands" if way.shell else "past libc" if past_libc else "calls of libc"
        rows.setdefault((kind, way.leaks), []).append(way.shown)
    lines = ["| a file of the base is changed by | with cowdancer, the base is | with cowfs |", "|---|---|---|"]
    for (kind, leaks), shown in rows.items():
        lines.append(f"| {kind}: {', '.join(shown)} | {'**changed**' if leaks else 'safe'} | safe |")
    return "\n".join(lines)


def test_readme_shows_what_was_seen() -> None:
    assert table() in SECURITY.read_text(), f"SECURITY.md, The escape table, should be:\n{table()}"


def test_a_build_cannot_leave_the_mount_through_links_of_the_layer(bench: Workbench) -> None:
    """Links made inside are followed by the kernel in the caller's name, never by the daemon."""
    secret = bench.place / "outside"
    secret.write_bytes(b"outside")
    mount = bench.mounted({"d/file": file(b"inside")})
    os.rename(mount.path + b"/d", mount.path + b"/e")
    os.symlink(os.fsencode(secret), mount.path + b"/d")
    os.unlink(mount.path + b"/e/file")
    os.symlink(os.fsencode(secret), mount.path + b"/e/file")
    os.chown(mount.path + b"/e/file", 5, 5, follow_symlinks=False)
    os.utime(mount.path + b"/e/file", ns=(1, 1), follow_symlinks=False)
    mount.remount()
    os.rename(mount.path + b"/e/file", mount.path + b"/e/moved")
    assert os.stat(secret).st_uid == os.geteuid()
    assert actions.read(os.fsencode(secret)) == b"outside"
    assert os.readlink(mount.path + b"/e/moved") == os.fsencode(secret)


if __name__ == "__main__":
    print(table())
