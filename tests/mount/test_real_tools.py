"""The tools that packages are made with, in a session and on a plain directory: the same results, the same trees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.builder.conftest import base_of
from tests.builder.packages import Base, state_of
from tests.harness.bench import Workbench
from tests.harness.snapshot import Snapshot, differences, snapshot
from tests.harness.trees import Entry, directory, fifo, file, link_to, symlink
from tests.harness.trial import CLOCK_TICK_NS, Trial, compare

__all__ = ["base_of"]

pytestmark = pytest.mark.root

STEADY = {  # so that two runs make the same
    **os.environ,
    "LC_ALL": "C.UTF-8",
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "Nobody",
    "GIT_AUTHOR_EMAIL": "nobody@localhost",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "Nobody",
    "GIT_COMMITTER_EMAIL": "nobody@localhost",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}


def _shell(trial: Trial, script: str) -> None:
    """Run a script in the tree and note what it prints; it may not fail."""
    done = subprocess.run(
        ["sh", "-euc", script], cwd=trial.root, env=STEADY, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, f"{os.fsdecode(trial.root)}: {done.stdout}{done.stderr}"
    trial.note(script, done.stdout)


def _script(text: str) -> Callable[[Trial], None]:
    return lambda trial: _shell(trial, text)


TREE: dict[str, Entry] = {
    **{
        f"tree/d{number % 9}/f{number:03}": file(b"%d\n" % number * number, mode=0o600 + number)
        for number in range(200)
    },
    "tree/link": symlink("d1/f001"),
    "tree/setuid": file(b"#!/bin/sh\n", mode=0o4755),
    "tree/one": file(b"linked", xattrs={"user.a": b"1"}),
    "tree/two": link_to("tree/one"),
    "tree/fifo": fifo(),
    "tree/closed": directory(0o500, uid=7),
    "tree/closed/inside": file(b"x"),
    "tree/caf\u00e9 \u65e5": file(b"name"),
}


def test_cp_and_mv_and_rm(bench: Workbench) -> None:
    bench.compare(
        TREE,
        _script("cp -a tree copy && diff -r --no-dereference -x fifo tree copy"),
        _script("cp -al tree links && cp -a --reflink=auto tree/d1 tree/d1-again"),
        _script("mv tree moved && mv moved/d3 d3 && mv links/d4 moved/d4-links"),
        _script("rm -r links moved/d5 && find . -name 'f01*' -delete && chmod -R go-rwx moved && chown -R 5:5 d3"),
        _script("cp -r moved/d6 tree && find . | sort && du -a --apparent-size d3 | sort"),
    )


def test_tar_and_rsync_like_copies(bench: Workbench) -> None:
    bench.compare(
        TREE,
        _script("tar --xattrs --acls --sort=name -cf a.tar tree && mkdir out && tar --xattrs --acls -xpf a.tar -C out"),
        _script("tar -df a.tar && rm -r tree && mkdir tree && tar -xpf a.tar && rm a.tar"),
        _script("(cd out && find . -depth ! -type p | sort | cpio -o -H newc 2>/dev/null || true) | wc -c"),
    )


def test_git_clone_commit_and_gc(bench: Workbench) -> None:
    base = bench.base({f"source/d{number % 9}/f{number:03}": file(b"%d\n" % number * 50) for number in range(200)})
    script = "git init -q -b main && git add . && git commit -qm first && git rm -q d1/f001 && git commit -qm second"
    subprocess.run(["sh", "-euc", script], cwd=base / "source", env=STEADY, check=True)
    plain = bench.place / "plain"
    subprocess.run(["cp", "-a", base, plain], check=True)
    mount = bench.mount(base)
    commands = (
        "git clone -q source work && git -C work status --porcelain && git -C work log --format=%H",
        "cd work && for n in 1 2 3; do echo $n >> d2/f002 && git commit -qam more$n; done && git rev-parse HEAD",
        "cd source && git status --porcelain && git checkout -q -b other && git mv d3 renamed && git commit -qm move",
        "cd source && git gc -q && git fsck --full --strict && git count-objects && git rev-parse HEAD",
        "cd work && git pull -q --rebase origin other && git gc -q --aggressive && git fsck --full",
        "cd work && git log --format=%H && git status --porcelain && git worktree add -q ../tree",
    )
    runs = [Trial(os.fsencode(plain)), Trial(mount.path)]
    for trial in runs:
        for command in commands:
            _shell(trial, command)
    assert runs[0].outcomes == runs[1].outcomes
    mount.remount()
    _shell(runs[1], "git -C work fsck --full && git -C work status --porcelain")


C_PROJECT: dict[str, Entry] = {
    **{
        f"src/part{number}.c": file(b'#include "all.h"\nint part%d(void) { return %d; }\n' % (number, number))
        for number in range(24)
    },
    "src/all.h": file(b"".join(b"int part%d(void);\n" % number for number in range(24))),
    "src/main.c": file(
        b'#include <stdio.h>\n#include "all.h"\nint main(void) { printf("%d\\n", '
        + b" + ".join(b"part%d()" % number for number in range(24))
        + b"); return 0; }\n"
    ),
    "Makefile": file(
        b"objects := $(patsubst src/%.c,build/%.o,$(wildcard src/*.c))\n"
        b"program: $(objects)\n\t@$(CC) -o $@ $^\n"
        b"build/%.o: src/%.c src/all.h\n\t@mkdir -p build\n\t@echo CC $< >> compiled\n\t@$(CC) -c -o $@ $<\n"
        b"clean:\n\trm -rf build program compiled\n"
    ),
}


def test_a_c_project_is_made_and_made_again(bench: Workbench) -> None:
    """Times decide what is made again, so they must be as make(1) expects, also after a copy-up."""
    bench.compare(
        C_PROJECT,
        _script("make -s -j2 program && ./program && sort -u compiled | wc -l && sort compiled -o compiled"),
        _script("make -q program && echo nothing to do"),
        _script("rm compiled && touch src/part3.c && make -s -j2 program && cat compiled && ./program"),
        _script("rm compiled && sed -i s/24/24/ src/all.h && make -s -j2 program && sort compiled -o compiled"),
        _script("ar rcs libparts.a build/part1*.o && ar t libparts.a && strip program && ./program && make -s clean"),
    )


@pytest.fixture(scope="module")
def wheel(scratch: Path) -> Path:
    """A small Python package as pip installs it; pip itself takes ten times as long."""
    path, about = scratch / "tiny-1-py3-none-any.whl", "tiny-1.dist-info"
    files = {f"tiny/m{number}.py": f"import json\nvalue = json.dumps([{number}])\n" for number in range(20)}
    files["tiny/__init__.py"] = "import tiny.m7 as last\ndef main():\n    print(last.value)\n"
    files[f"{about}/entry_points.txt"] = "[console_scripts]\ntiny = tiny:main\n"
    files[f"{about}/METADATA"] = "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n"
    files[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_a_virtual_environment(bench: Workbench, wheel: Path) -> None:
    def operations(trial: Trial) -> None:
        program = os.fsdecode(trial.path("venv/bin/python"))
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", trial.path("venv")], check=True, timeout=120)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", program]
        subprocess.run([*pip, "install", "--quiet", "--no-index", wheel], check=True, timeout=120)
        code = "import sys, json, ssl, tiny; print(sys.prefix != sys.base_prefix, json.dumps([1]))"
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        trial.note("runs", done.stdout)
        trial.note("its command", subprocess.check_output([trial.path("venv/bin/tiny")], text=True, timeout=60))
        # The paths of the two trees are written into these.
        _shell(trial, "rm -r venv/bin venv/pyvenv.cfg venv/lib/*/site-packages/*/RECORD")
        _shell(trial, "find venv -name __pycache__ -prune -exec rm -r {} +")

    bench.compare({"empty": directory()}, operations)


WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60)
connection.execute("PRAGMA synchronous=NORMAL")
for number in range(150):
    with connection:
        connection.execute("INSERT INTO entries VALUES (?, ?)", (sys.argv[2], number))
"""


def test_sqlite_with_a_write_ahead_log(bench: Workbench) -> None:
    """Several processes share the index of the log by mmap(2), and lock by fcntl(2)."""
    base = bench.base({"d": directory()})
    sql = "PRAGMA journal_mode=WAL; CREATE TABLE entries (writer, number);"
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, base / "d/data.db", sql], check=True, env={"PYTHONWARNINGS": "ignore"})
    mount = bench.mount(base)
    database = str(mount.point / "d/data.db")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, database, str(number)]) for number in range(3)]
    assert [writer.wait(timeout=100) for writer in writers] == [0, 0, 0]
    query = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "print(c.execute('PRAGMA integrity_check').fetchone()[0], "
        "c.execute('SELECT count(*), count(DISTINCT writer || number) FROM entries').fetchone(), "
        "c.execute('PRAGMA journal_mode').fetchone()[0]); c.execute('PRAGMA wal_checkpoint(TRUNCATE)'); c.close()"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", query, database], capture_output=True, text=True, check=True)
        assert done.stdout == "ok (450, 450) wal\n"
        mount.remount()


@pytest.fixture(scope="session")
def debian(base_of: Callable[..., Base]) -> Path:
    """A small Debian, the builder's tests' own."""
    return base_of("root").path


PACKAGE = """
mkdir -p tiny/DEBIAN tiny/usr/share/tiny tiny/etc
printf 'Package: tiny\\nVersion: %s\\nArchitecture: all\\n' "$1" > tiny/DEBIAN/control
printf 'Maintainer: Nobody\\nDescription: tiny\\n' >> tiny/DEBIAN/control
printf '/etc/tiny.conf\\n' > tiny/DEBIAN/conffiles
printf '#!/bin/sh\\nset -e\\ndpkg-statoverride --add --update root games 2755 /usr/share/tiny/tool || true\\n' \
    > tiny/DEBIAN/postinst
chmod 755 tiny/DEBIAN/postinst
echo "version $1" > tiny/etc/tiny.conf
echo "version $1" > tiny/usr/share/tiny/tool
ln -f tiny/usr/share/tiny/tool tiny/usr/share/tiny/linked
dpkg-deb --root-owner-group -b tiny "tiny_$1.deb" > /dev/null
rm -r tiny
"""

INSTALL = """
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
cd /root
sh -e package.sh 1
sh -e package.sh 2
dpkg -i tiny_1.deb
dpkg -i tiny_2.deb
cat /usr/share/tiny/tool
apt-get -q -y update
apt-get -q -y install --no-install-recommends hello
hello
apt-get -q -y remove hello
dpkg -P tiny
dpkg --verify
dpkg --audit
dpkg -l | awk '{print $1, $2, $3}'
rm tiny_1.deb tiny_2.deb
"""

VARYING = ("var/log", "var/cache", "var/lib/apt", "var/lib/dpkg", "etc/ld.so.cache", "tmp", "root", "etc/resolv.conf")


def _install(top: Path) -> str:
    """Install packages in a chroot; what the last commands print."""
    (top / "root/package.sh").write_text(PACKAGE)
    (top / "root/install.sh").write_text(INSTALL)
    (top / "etc/resolv.conf").unlink(missing_ok=True)
    (top / "etc/resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
    script = 'mount --rbind /dev "$1/dev"; mount -t proc none "$1/proc"; exec chroot "$1" sh -e /root/install.sh'
    command = ["unshare", "-m", "--propagation", "private", "sh", "-ec", script, "sh", str(top)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout[done.stdout.index("Desired=") if "Desired=" in done.stdout else -2000 :]


def _stable(tree: Snapshot) -> Snapshot:
    """Without what says when and how something was installed."""
    names = tuple(os.fsencode(name) for name in VARYING)
    return {
        name: node._replace(mtime="")
        for name, node in tree.items()
        if not any(name == one or name.startswith(one + b"/") for one in names)
    }


class Installed(NamedTuple):
    """What was printed, the tree, and when it began (ns): file times from then on count as equal."""

    said: str
    tree: Snapshot
    now: int


@pytest.fixture(scope="module")
def installed(debian: Path, scratch: Path) -> Installed:
    """In an ordinary directory, once for all engines."""
    plain = scratch / "installed"
    subprocess.run(["cp", "-a", debian, plain], check=True)
    now = time.time_ns() - CLOCK_TICK_NS
    made = Installed(_install(plain), _stable(snapshot(str(plain), now=now)), now)
    shutil.rmtree(plain)
    return made


def test_dpkg_and_apt_install_packages(bench: Workbench, debian: Path, installed: Installed) -> None:
    before = state_of(debian)
    mount = bench.mount(debian)
    bench.bases.pop(debian)  # its state is compared instead
    assert _install(mount.point) == installed.said
    lines = differences(installed.tree, _stable(snapshot(mount.path, now=installed.now)))
    assert not lines, "plain directory -> mount\n" + "\n".join(lines)
    assert state_of(debian) == before


def test_a_compiler_cache_of_links_and_locks(bench: Workbench) -> None:
    """What ccache, make's job server and dpkg do with temporary names, links and flock(1), many at once."""
    script = """
        mkdir -p cache/tmp
        for n in $(seq 40); do
            ( echo "$n" > cache/tmp/$n.$$ && ln cache/tmp/$n.$$ cache/$((n % 7)) 2>/dev/null || true
              rm -f cache/tmp/$n.$$
              flock cache/lock sh -c 'echo x >> cache/count' ) &
        done
        wait
        ls cache cache/tmp
        wc -l < cache/count
        rm cache/[0-6]
    """
    bench.compare({"cache/lock": file()}, _script(script))


def test_compare_tells_a_difference(place: Path) -> None:
    """The comparison itself: a tool that does different things on two trees is noticed."""
    for name in ("one", "two"):
        (place / name).mkdir()
        (place / name / "file").write_text(name)
    with pytest.raises(AssertionError, match="content"):
        compare(str(place / "one"), str(place / "two"))
